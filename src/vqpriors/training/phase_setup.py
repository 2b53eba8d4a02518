"""A model's settings in a phase: frozen submodules, options, training progress."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import nn


def set_train_mode(model: nn.Module, frozen: Sequence[str]) -> None:
    """Put a model in training mode and its frozen submodules in evaluation mode.

    A frozen codebook without gradients would otherwise still follow its moving averages. Submodules
    that the model names as `idle` are frozen, too: DDP requires a gradient of all others.

    Raises:
        ValueError: If the model has no such submodule.
    """
    model.train()
    submodules = dict(model.named_modules())
    frozen = (*frozen, *getattr(model, "idle", ()))
    for name in frozen:
        if name not in submodules:
            raise ValueError(
                f"phases: no submodule {name!r} to freeze; correct `frozen` in params.yaml"
            )
        submodules[name].eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(name.startswith(f"{part}.") for part in frozen))


def set_options(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Call a model's `begin_phase` with a phase's options; its defaults apply to the others.

    Raises:
        ValueError: If the model has no such option, or its default is of another type.
    """
    begin: Any = getattr(model, "begin_phase", None)
    if begin is None and options:
        raise ValueError(
            f"phases: {type(model).__name__} has no options, got {options}; "
            "remove them from params.yaml"
        )
    known = {} if begin is None else signature(begin).parameters
    for name, value in options.items():
        if name not in known:
            raise ValueError(
                f"phases: no option {name!r}; correct `options` to some of {', '.join(known)}"
            )
        if not isinstance(value, expected := type(known[name].default)):
            raise ValueError(
                f"phases: option {name} must be {expected.__name__}, got {value!r}; "
                "change it in params.yaml"
            )
    if begin is not None:
        begin(**options)


def set_progress(model: nn.Module, fraction: float) -> None:
    """Call a model's `set_progress`, if it has one, with the fraction of training that is done."""
    method: Any = getattr(model, "set_progress", None)
    if method is not None:
        method(fraction)
