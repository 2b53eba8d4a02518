"""CFTN, conditional flow transformer network: a masked transformer over codes, given a caption."""

from vqpriors.priors.cftn.model import Config, build

__all__ = ["Config", "build"]
