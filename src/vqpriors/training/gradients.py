"""Gradient accumulation and the check that losses and gradients are finite."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vqpriors.core.hardware import is_out_of_memory
from vqpriors.training.config import TrainConfig
from vqpriors.training.losses import extra_metrics, num_targets, weighted_sum

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

    A loss that is a mean over targets, such as masked codes, is the mean over those of the whole
    batch, of all parts and processes.

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
    shares = target_shares(model, parts, accelerator)
    means: dict[str, Tensor] = {}
    total = torch.zeros((), device=accelerator.device)
    for i, part in enumerate(parts):
        size = len(next(iter(part.values())))
        is_last = i == len(parts) - 1
        with nullcontext() if is_last else accelerator.no_sync(objective):
            try:
                losses = _scaled(objective(part), shares[i], default=size / count)
                loss = weighted_sum(losses, loss_weights)
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
        metrics = _scaled(extra_metrics(model), shares[i], default=size / count)
        for name, value in {**losses, **metrics}.items():
            means[name] = means.get(name, 0.0) + value.detach()
    return means, total


def _split(batch: Batch, count: int) -> list[Batch]:
    rows = torch.arange(len(next(iter(batch.values())))).tensor_split(count)
    return [{name: value[r[0] : r[-1] + 1] for name, value in batch.items()} for r in rows]


@torch.no_grad()
def target_shares(
    model: nn.Module, parts: Sequence[Batch], accelerator: Accelerator
) -> list[dict[str, Tensor]]:
    """Return each part's share of the targets of the whole batch, by the names of `num_targets`.

    Shares are multiplied by the number of processes, since gradients are averaged over them.
    """
    if len(parts) == 1 and accelerator.num_processes == 1:
        return [{}]
    counts = [num_targets(model, part) for part in parts]
    if not counts[0]:
        return [{} for _ in parts]
    table = torch.stack([torch.stack(list(part.values())) for part in counts])  # (parts, names)
    total: Any = accelerator.reduce(table.sum(0), "sum")
    shares: Tensor = table * accelerator.num_processes / total.clamp(min=1)
    names = list(counts[0])
    return [dict(zip(names, torch.unbind(row), strict=True)) for row in torch.unbind(shares)]


def _scaled(
    values: Mapping[str, Tensor], shares: Mapping[str, Tensor], *, default: float
) -> dict[str, Tensor]:
    return {name: value * shares.get(name, default) for name, value in values.items()}


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


class FiniteCheck:
    """Checks that losses and gradient norms are finite.

    On a CPU each step is checked before its update. A GPU would have to be waited for, so there the
    steps are checked together, when `require` is called.
    """

    def __init__(self, accelerator: Accelerator):
        self.is_scaled = accelerator.scaler is not None
        self.waits = accelerator.device.type != "cpu"
        self._added: list[tuple[int, float, list[str], Tensor]] = []

    def add(self, values: Mapping[str, Tensor], *, step: int, lr: float) -> None:
        """Add a step's losses and gradient norm.

        Raises:
            ValueError: As `require`, on a CPU.
        """
        # Gradients scaled for fp16 may overflow: the scaler then skips the step.
        checked = {k: v for k, v in values.items() if not (self.is_scaled and k == "gradient_norm")}
        joined = torch.stack([v.detach().float() for v in checked.values()])
        self._added.append((step, lr, list(checked), joined))
        if not self.waits:
            self.require()

    def require(self) -> None:
        """Raise a ValueError that names the first added step with a value that is not finite."""
        added, self._added = self._added, []
        if not added or all(torch.cat([joined.isfinite() for *_, joined in added]).tolist()):
            return
        for step, lr, names, joined in added:
            is_finite = joined.isfinite().tolist()
            if not all(is_finite):
                bad = [name for name, ok in zip(names, is_finite, strict=True) if not ok]
                raise ValueError(
                    f"step {step}: {', '.join(bad)} not finite at learning rate {lr:.3g}; "
                    "lower the phase's lr or train.clip_norm, or set train.precision to 'no'"
                )
