"""One training loop for tokenizer, judge and priors; exact resume from its checkpoints."""
