"""Kinds are modules: a prior, quantizer, text encoder or image source goes by its file's name."""

import pkgutil
from importlib import import_module
from types import ModuleType


def kind_names(package: str) -> list[str]:
    """List the kinds of a package: its public modules, sorted; nothing but the package is imported.

    Args:
        package: Dotted name of a package of kinds, such as "vqpriors.priors".
    """
    paths = import_module(package).__path__
    return sorted(m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_"))


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
