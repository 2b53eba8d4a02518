"""Experiment trackers, one kind per module; they observe a run and change no result."""
