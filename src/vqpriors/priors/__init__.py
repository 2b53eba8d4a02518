"""Priors, each a kind: distributions over the codes of a picture, given its caption."""
