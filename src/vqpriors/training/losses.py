"""Named losses of a model and their weighted sum."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Objective(nn.Module):
    """A module whose forward pass is a model's losses, for autocast, DDP and compilation."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the model's named losses."""
        return self.model.losses(batch)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the weighted sum of named losses; weights default to 1.

    Raises:
        ValueError: If a weight names no loss.
    """
    if unknown := weights.keys() - losses.keys():
        raise ValueError(
            f"phases: no loss {sorted(unknown)[0]!r} to weigh in this phase; "
            f"correct `weights` in params.yaml to some of {', '.join(losses)}"
        )
    return torch.stack([value * weights.get(name, 1.0) for name, value in losses.items()]).sum()


def num_targets(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the number of targets of the losses and metrics that are no means over examples.

    Returns:
        () int64 by name; empty for a model without `num_targets`.
    """
    method: Any = getattr(model, "num_targets", None)
    return {} if method is None else method(batch)


def extra_metrics(model: nn.Module) -> dict[str, Tensor]:
    """Return the metrics that a model's last call of `losses` left in `measured`; named scalars."""
    return dict(getattr(model, "measured", {}))
