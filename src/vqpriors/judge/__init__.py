"""Judges, each a kind: networks that are trained on real pictures and only used to evaluate."""
