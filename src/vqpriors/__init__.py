"""Image generation with discrete tokens: tokenizers, priors, samplers and their evaluation.

`from vqpriors import Generator` imports the generator, and torch with it, on first use;
`vqpriors.__version__` is the version of the installed package.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "Generator":
        return import_module("vqpriors.inference.generator").Generator
    if name == "__version__":
        return import_module("vqpriors.core.version").package_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
