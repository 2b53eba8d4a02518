"""Captioned handwritten digits in colour; needs no network."""

from vqpriors.sources.digits.drawings import Config, build

__all__ = ["Config", "build"]
