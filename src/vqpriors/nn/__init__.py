"""Building blocks that tokenizers and priors share; they take flat keyword arguments."""
