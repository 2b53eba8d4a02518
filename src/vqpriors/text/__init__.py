"""Text encoders, each a kind: captions to tokens or features."""
