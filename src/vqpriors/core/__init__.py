"""Foundations of every stage: artifacts, params, hardware, seeds and the registry of kinds."""
