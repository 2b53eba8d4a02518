"""Measures of a run, one module for each question; every module is measured by `evaluate`."""
