"""Experiment trackers beside DVC, each a kind; they change no result."""
