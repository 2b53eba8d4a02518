"""Registry of kinds by module name, as in big_vision.

A kind is a prior, sampler, tokenizer, quantizer, text encoder, judge or source: a module or folder
in the package of such kinds that exports `Config` and `build`. It has the name of its file, so a
new kind is a new file and a section of params.yaml, and there is no list to edit. The `base` folder
of each package states what else its kinds export.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

SHARED = "base"  # the contract and the shared code of a package of kinds; not a kind


def kind_names(package: str) -> list[str]:
    """List the kinds of a package, sorted: its modules and folders except `base`.

    Imports the package only, not its kinds.

    Args:
        package: Dotted name of a package of kinds, such as "vqpriors.priors".
    """
    paths = import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(paths) if module.name != SHARED)


def load_kind(package: str, name: str, *, param: str) -> ModuleType:
    """Import the module of a kind.

    Args:
        package: Dotted name of a package of kinds, such as "vqpriors.priors".
        name: Name of the kind, which is that of its module.
        param: The params key that names it, for the error.

    Raises:
        ValueError: If the package has no such kind; lists the available ones.
    """
    names = kind_names(package)
    if name not in names:
        raise ValueError(f"{param}: no kind {name!r}; choose one of {', '.join(names)}")
    return import_module(f"{package}.{name}")
