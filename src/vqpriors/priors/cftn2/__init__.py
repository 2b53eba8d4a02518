"""CFTN v2, BiHemisphericBrain: an image tower and a text tower, joined by gated cross-attention."""

from vqpriors.priors.cftn2.model import Config, build

__all__ = ["Config", "build"]
