"""Image tokenizers, one kind per module; their contract is in `base/tokenizer.py`."""
