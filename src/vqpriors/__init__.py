"""Image generation with discrete tokens: tokenizers, priors, samplers and their evaluation.

`from vqpriors import Generator` imports the generator, and torch with it, on first use.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Generator":
        return import_module("vqpriors.inference.generator").Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
