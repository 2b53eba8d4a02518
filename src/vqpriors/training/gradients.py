"""Gradient accumulation and the check that losses and gradients are finite."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vqpriors.training.batch_size import is_out_of_memory
from vqpriors.training.config import TrainConfig
from vqpriors.training.losses import extra_metrics, weighted_sum

Batch = dict[str, Tensor]


def accumulate_gradients(
    objective: nn.Module,
    model: nn.Module,
    batch: Batch,
    *,
    loss_weights: Mapping[str, float],
    config: TrainConfig,
    accelerator: Accelerator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Add up the gradients of the parts of a batch.

    Args:
        objective: The model as prepared by Accelerate; its forward pass returns losses.
        model: The model in it, which may have further metrics.
        batch: This process's examples.
        loss_weights: Weights of named losses.
        config: Number of parts.
        accelerator: Scales and synchronises gradients.

    Returns:
        The means of losses and metrics over the batch, and the weighted sum of the losses.

    Raises:
        ValueError: If memory runs out; names the param to lower.
    """
    count = len(next(iter(batch.values())))
    parts = _split(batch, config.stage.grad_accum_steps)
    if len(parts) > 1:
        with accelerator.autocast():
            begin_update(model, parts)
    means: dict[str, Tensor] = {}
    total = torch.zeros((), device=accelerator.device)
    for i, part in enumerate(parts):
        size = len(next(iter(part.values())))
        is_last, fraction = i == len(parts) - 1, size / count
        with nullcontext() if is_last else accelerator.no_sync(objective):
            try:
                losses = objective(part)
                loss = weighted_sum(losses, loss_weights) * fraction
                accelerator.backward(loss)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise ValueError(
                        f"{config.section}.batch_size: out of memory on {accelerator.device} at "
                        f"{size} examples at a time; lower it, or raise "
                        f"{config.section}.grad_accum_steps"
                    ) from error
                raise
        total = total + loss.detach()
        for name, value in {**losses, **extra_metrics(model)}.items():
            means[name] = means.get(name, 0.0) + value.detach() * fraction
    return means, total


def _split(batch: Batch, count: int) -> list[Batch]:
    rows = torch.arange(len(next(iter(batch.values())))).tensor_split(count)
    return [{name: value[r[0] : r[-1] + 1] for name, value in batch.items()} for r in rows]


def begin_update(model: nn.Module, parts: Sequence[Batch]) -> None:
    """Call a model's `begin_update`, if it has one, with the parts of this process's batch."""
    method: Any = getattr(model, "begin_update", None)
    if method is not None:
        method(parts)


def end_update(model: nn.Module) -> None:
    """Call `end_update` of each module that has one, such as a quantizer with averages."""
    for module in model.modules():
        method: Any = getattr(module, "end_update", None)
        if method is not None:
            method()


def require_finite(
    values: Mapping[str, Tensor], *, step: int, lr: float, accelerator: Accelerator
) -> None:
    """Raise a ValueError if a loss or the gradient norm is not finite."""
    # Gradients scaled for fp16 may overflow: the scaler then skips the step.
    is_scaled = accelerator.scaler is not None
    checked = {k: v for k, v in values.items() if not (is_scaled and k == "gradient_norm")}
    if torch.isfinite(torch.stack([v.detach().float() for v in checked.values()])).all():
        return
    bad = [name for name, value in checked.items() if not torch.isfinite(value)]
    raise ValueError(
        f"step {step}: {', '.join(bad)} not finite at learning rate {lr:.3g}; "
        "lower the phase's lr or train.clip_norm, or set train.precision to 'no'"
    )
