"""What stages hand to each other: images, tokens, samples and encoded captions."""
