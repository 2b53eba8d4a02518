"""The judge: a classifier of attributes, trained on real pictures and used for evaluation only."""
