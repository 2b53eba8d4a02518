"""CFTN v2, BiHemisphericBrain: a tower over pictures and one over captions, joined by bridges."""

from vqpriors.priors.cftn2.model import Config, build

__all__ = ["Config", "build"]
