"""Code of all sources: their contract, splits, caption templates, writing of image sets."""
