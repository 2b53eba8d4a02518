"""What trackers share: a background thread and the progress bar."""
