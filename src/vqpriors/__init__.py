"""Discrete-token image generation: tokenizers, priors, samplers and their evaluation.

`from vqpriors import Generator` gives what draws; it is imported when it is asked for.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Generator":
        return import_module("vqpriors.inference.generator").Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
