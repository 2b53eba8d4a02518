"""Contracts of tokenizers and quantizers, encoding and decoding, and metrics."""
