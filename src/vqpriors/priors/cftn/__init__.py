"""CFTN, conditional flow transformer network: guesses any codes from any others and the caption."""

from vqpriors.priors.cftn.model import Config, build

__all__ = ["Config", "build"]
