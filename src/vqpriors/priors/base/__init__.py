"""The contract of priors, and their common losses, masks and training examples."""
