"""Random order and random state as functions of the position in training.

A resumed run draws what an uninterrupted one would have drawn, because nothing depends on what was
drawn before.
"""

import torch
from torch import Tensor

from vqpriors.core.seeds import derived_seed

WHOLE = slice(None)  # of the rows of a batch: all of them, as one process takes them


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits the examples, (num_examples,) int64."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    return torch.randperm(num_examples, generator=generator)


def seed_step(*, seed: int, step: int, rank: int) -> torch.Generator:
    """Set the random state of one training step, dropout's included, a process's own.

    Returns:
        A CPU generator for what the batch draws, the same on all processes.
    """
    torch.manual_seed(derived_seed(seed, "step", step, rank))
    return torch.Generator().manual_seed(derived_seed(seed, "batch", step, 0))
