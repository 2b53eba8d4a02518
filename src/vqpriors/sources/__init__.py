"""Data sources, one kind per module, used by the `download` stage only; see `base/source.py`."""
