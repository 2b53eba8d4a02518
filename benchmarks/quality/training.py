"""Training of a peer for a given time."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vqpriors.core.hardware import Precision, autocast
from vqpriors.training.examples import Examples
from vqpriors.training.shuffling import epoch_order

BETAS, WEIGHT_DECAY, CLIP_NORM, WARM_UP_SHARE = (0.9, 0.95), 0.05, 1.0, 0.05


def train(
    model: nn.Module,
    loss: Callable[[dict[str, Tensor]], Tensor],
    examples: Examples,
    *,
    seconds: float,
    batch_size: int,
    lr: float,
    precision: Precision,
    seed: int,
) -> float:
    """Train with AdamW, a warm-up and a cosine schedule over the time; return the epochs made.

    Args:
        model: The network; it is left in evaluation mode.
        loss: Returns the loss of a batch, () float.
        examples: The training examples.
        seconds: Time of training.
        batch_size: Examples in a batch.
        lr: Peak learning rate.
        precision: Of matrix products, as `train.precision` of params.yaml.
        seed: Seed of the order, of dropped captions and of masks.
    """
    torch.manual_seed(seed)
    optimizer = AdamW(model.parameters(), lr=lr, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    began, steps = time.monotonic(), 0
    model.train()
    for batch in _batches(examples, batch_size=batch_size, seed=seed):
        share = (time.monotonic() - began) / seconds
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * _factor(share)
        with autocast(precision, torch.device("cpu")):
            value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    model.eval().requires_grad_(False)
    return steps * batch_size / len(examples)


def _batches(examples: Examples, *, batch_size: int, seed: int) -> Iterator[dict[str, Tensor]]:
    generator, epoch = torch.Generator().manual_seed(seed), 0
    while True:
        order = epoch_order(len(examples), seed=seed, epoch=epoch)
        for rows in order.split(batch_size):
            if len(rows) == batch_size:
                yield examples.batch(rows, generator)
        epoch += 1


def _factor(share: float) -> float:
    """Return the learning rate's factor at a share of the time, 0 to 1."""
    warm = min(1.0, share / WARM_UP_SHARE)
    return warm * (1 + math.cos(math.pi * share)) / 2
