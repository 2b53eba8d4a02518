"""MaskGIT decoding of a masked prior: many codes in each of a few steps."""

from vqpriors.sampling.maskgit.sampler import (
    EDITS,
    HAS_STEPS,
    IS_DEFAULT,
    PRIMITIVE,
    TEMPERATURES,
    Config,
    build,
)

__all__ = ["EDITS", "HAS_STEPS", "IS_DEFAULT", "PRIMITIVE", "TEMPERATURES", "Config", "build"]
