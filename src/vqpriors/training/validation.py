"""Validation: the averaged weights' losses on the validation split."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from vqpriors.training.examples import Examples, to_device
from vqpriors.training.losses import extra_metrics, num_targets
from vqpriors.training.means import sum_over_processes
from vqpriors.training.weights import Weights


def require_examples(num_examples: int, *, num_processes: int) -> None:
    """Raise a ValueError if a process would have no example to validate on."""
    if num_examples < num_processes:
        raise ValueError(
            f"data: the validation split has {num_examples} examples for {num_processes} "
            "processes; raise its validation_share in params.yaml"
        )


@torch.no_grad()
def validate(
    weights: Weights,
    examples: Examples,
    *,
    loss_weights: Mapping[str, float],
    batch_size: int,
    limit: int | None = None,
) -> dict[str, float]:
    """Return the averaged weights' losses and metrics, means over the examples or their targets.

    "loss" is the weighted sum of the losses.

    Args:
        weights: The averaged weights are measured.
        examples: The validation split.
        loss_weights: Weights of named losses; 1 for others.
        batch_size: Examples in each pass of a process.
        limit: At most so many examples, the first; None for all.
    """
    accelerator, model = weights.accelerator, weights.averaged.module.eval()
    count = len(examples) if limit is None else min(limit, len(examples))
    names: list[str] = []
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for rows, num_new in _chunks(count, batch_size=batch_size, weights=weights):
        batch = to_device(examples.batch(rows, None), accelerator.device)
        with accelerator.autocast():
            losses = model.losses(batch)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors
        targets, names = num_targets(model, batch) if num_new else {}, list(losses)
        new = torch.tensor(num_new, device=accelerator.device)
        for name, value in {**losses, **extra_metrics(model)}.items():
            number = targets.get(name, new)
            sums[name] = sums.get(name, torch.zeros_like(value)) + value * number
            counts[name] = counts.get(name, torch.zeros_like(number)) + number
    totals, numbers = sum_over_processes(sums, accelerator), sum_over_processes(counts, accelerator)
    means = {name: total / max(1.0, numbers[name]) for name, total in totals.items()}
    return means | {"loss": sum(means[name] * loss_weights.get(name, 1.0) for name in names)}


def _chunks(count: int, *, batch_size: int, weights: Weights) -> list[tuple[Tensor, int]]:
    """Return the rows of each pass of this process, and how many of them count."""
    rank, world = weights.accelerator.process_index, weights.accelerator.num_processes
    rows = torch.arange(rank, count, world)
    chunks = [(chunk, len(chunk)) for chunk in rows.split(batch_size)]
    if weights.is_sharded:  # every process takes part in every pass, even without a new row
        passes = math.ceil(math.ceil(count / world) / batch_size)
        chunks += [(rows[:1], 0)] * (passes - len(chunks))
    return chunks
