"""What makes up a phase: learning rate, weighted losses, frozen parts, averaged weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from vqpriors.training.config import TrainConfig
from vqpriors.training.muon import Muon


def lr_share(step: int, *, total: int, config: TrainConfig) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine."""
    warmup = min(config.warmup_steps, total // 2)
    if step < warmup:
        return (step + 1) / warmup
    angle = math.pi * (step - warmup) / max(1, total - warmup)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(angle))


def weigh(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Add up named losses, each times its weight or 1.

    Raises:
        ValueError: If a weight is of no loss, since it would be ignored.
    """
    if unknown := weights.keys() - losses.keys():
        raise ValueError(
            f"phases: no loss {sorted(unknown)[0]!r} to weigh in this phase; "
            f"correct `weights` in params.yaml to some of {', '.join(losses)}"
        )
    return torch.stack([value * weights.get(name, 1.0) for name, value in losses.items()]).sum()


def make_optimizer(model: nn.Module, *, lr: float, config: TrainConfig) -> Optimizer:
    """Return the optimizer of what learns in a model, its peak learning rate set."""
    betas = (config.betas[0], config.betas[1])
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "muon":
        return Muon(groups, lr=lr, betas=betas)
    return AdamW(groups, lr=lr, betas=betas, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Group what learns in a model.

    Matrices and kernels decay, gains and biases do not. Those that mix channels are for Muon:
    not embeddings, whose rows are taken one by one, nor a module named `head`, whose outputs are.
    """
    apart = {
        id(parameter)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or name.split(".")[-1] == "head"
        for parameter in module.parameters()
    }
    learning = [p for p in model.parameters() if p.requires_grad]
    mixing = [p for p in learning if p.ndim >= 2 and id(p) not in apart]
    taken = [p for p in learning if p.ndim >= 2 and id(p) in apart]
    others = [p for p in learning if p.ndim < 2]
    return [
        {"params": mixing, "weight_decay": weight_decay, "is_orthogonal": True},
        {"params": taken, "weight_decay": weight_decay, "is_orthogonal": False},
        {"params": others, "weight_decay": 0.0, "is_orthogonal": False},
    ]


def set_train_mode(model: nn.Module, frozen: Sequence[str]) -> None:
    """Put a model in training mode, its frozen submodules in evaluation mode.

    So a frozen codebook stops following its vectors, although it has no gradients.

    Raises:
        ValueError: If the model has no such submodule.
    """
    model.train()
    submodules = dict(model.named_modules())
    for name in frozen:
        if name not in submodules:
            raise ValueError(
                f"phases: no submodule {name!r} to freeze; correct `frozen` in params.yaml"
            )
        submodules[name].eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(name.startswith(f"{part}.") for part in frozen))


def set_options(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Tell a model of a phase's options; defaults stand for those that it does not name.

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


def averaging(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """Return an update of averaged weights that forgets its start faster than `decay` at first.

    Args:
        decay: Share of the old average in the new one, once n updates make (1 + n) / (10 + n) more.
    """

    def update(averaged: Any, current: Any, count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, weight)  # pyright: ignore[reportPrivateImportUsage] no public name

    return update
