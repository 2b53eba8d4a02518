"""Samplers, each a kind: they draw codes from a prior."""
