"""Data that stages exchange: images, tokens, samples and encoded captions."""
