"""What priors share: their contract, losses, masks and training examples."""
