"""Text encoders, one kind per module; their contract is in `base/encoder.py`."""
