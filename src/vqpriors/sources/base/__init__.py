"""The contract of sources, splits, caption templates and conversion to the image schema."""
