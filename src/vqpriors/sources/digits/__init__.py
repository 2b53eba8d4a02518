"""Handwritten digits in colour, which need no network."""

from vqpriors.sources.digits.drawings import Config, build

__all__ = ["Config", "build"]
