"""Metrics of drawn pictures, codes and captions, one module for each."""
