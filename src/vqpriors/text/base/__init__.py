"""Code of several text encoders: their contract, rows of token ids, pretrained models."""
