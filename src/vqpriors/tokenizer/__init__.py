"""Tokenizers, each a kind: pictures to a grid of codes and back."""
