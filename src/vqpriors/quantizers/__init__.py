"""Quantizers, each a kind: vectors to codes of a codebook and back."""
