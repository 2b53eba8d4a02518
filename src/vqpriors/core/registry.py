"""The registry of kinds: a prior, quantizer, text encoder, source or sampler is a module.

A kind goes by the name of its file or folder, so that there is no list to edit.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

SHARED = "base"  # holds what the kinds of a package share


def kind_names(package: str) -> list[str]:
    """List the kinds of a package, sorted: its modules and folders, without `base`.

    Imports nothing but the package.

    Args:
        package: Dotted name of a package of kinds, such as "vqpriors.priors".
    """
    paths = import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(paths) if module.name != SHARED)


def load_kind(package: str, name: str, *, param: str) -> ModuleType:
    """Import one kind, a module that exports `Config` and `build`.

    Args:
        package: Dotted name of a package of kinds, such as "vqpriors.priors".
        name: The kind's name, which is its module's.
        param: The params key that chose it, for the error.

    Raises:
        ValueError: If the package has no such kind; lists those that it has.
    """
    names = kind_names(package)
    if name not in names:
        raise ValueError(f"{param}: no kind {name!r}; choose one of {', '.join(names)}")
    return import_module(f"{package}.{name}")
