"""Random order and random state as functions of the position in training.

A resumed run has the same random numbers as an uninterrupted one, since they do not depend on
earlier ones.
"""

import torch
from torch import Tensor

from vqpriors.core.seeds import derived_seed

ALL_ROWS = slice(None)  # of a batch, for a single process


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> Tensor:
    """Return the random order of the examples in an epoch, (num_examples,) int64."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    return torch.randperm(num_examples, generator=generator)


def seed_step(*, seed: int, step: int, rank: int) -> torch.Generator:
    """Set the global random state of a training step, such as dropout's, for one process.

    Returns:
        A CPU generator for the batch's random numbers, the same on all processes.
    """
    torch.manual_seed(derived_seed(seed, "step", step, rank))
    return torch.Generator().manual_seed(derived_seed(seed, "batch", step, 0))
