"""The contract of text encoders, token rows and pretrained models."""
