"""Trackers beside DVC, each a kind; they observe a run and change no result."""
