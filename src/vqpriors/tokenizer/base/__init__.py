"""What all tokenizers share: their contract, encoding and decoding, quality metrics."""
