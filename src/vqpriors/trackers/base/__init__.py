"""Shared by trackers: the background thread and the progress bar."""
