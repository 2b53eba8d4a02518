"""The contracts of tokenizers and quantizers, encoding and decoding, and quality metrics."""
