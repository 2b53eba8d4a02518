"""Metrics of pictures, codes and features, a file for each question."""
