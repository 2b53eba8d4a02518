"""Calls of trackers from a background thread, and the progress bar."""
