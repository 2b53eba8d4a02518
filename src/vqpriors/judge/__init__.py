"""The judge: a classifier of real pictures, for evaluation only."""
