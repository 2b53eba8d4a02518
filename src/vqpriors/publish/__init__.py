"""Publishing: model cards, the Hugging Face Hub, DVC revisions, integrity checks."""
