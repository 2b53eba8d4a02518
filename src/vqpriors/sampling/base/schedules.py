"""What changes from step to step of parallel decoding: how many tokens are left, and how sharply.

Reference:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (the cosine schedule of what is left).
"""

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "cosine"]


def left_after(num_open: Tensor, steps: int) -> Tensor:
    """Return how many tokens of each picture are still masked after each step.

    Every step writes at least one until none is left, the first ones fewest.

    Args:
        num_open: Tokens to write, of each picture; (B,) int64.
        steps: Number of steps S.

    Returns:
        (S, B) int64; the last row is 0.
    """
    left, rows = num_open, []
    for step in range(1, steps + 1):
        share = 0.0 if step == steps else math.cos(math.pi / 2 * step / steps)
        left = torch.minimum((num_open * share).floor().long(), left - 1).clamp(min=0)
        rows.append(left)
    return torch.stack(rows)


def falling(schedule: Schedule, step: int, steps: int) -> float:
    """Return the share of a setting at a step, 0 to steps - 1; but for constant, the last is 0."""
    progress = (step + 1) / steps
    if schedule == "constant":
        return 1.0
    return 1 - progress if schedule == "linear" else 1 - math.sin(math.pi / 2 * progress)


def rising(schedule: Schedule, step: int, steps: int) -> float:
    """Return the share of a setting at a step, 0 to steps - 1; the last is 1."""
    progress = (step + 1) / steps
    if schedule == "constant":
        return 1.0
    return progress if schedule == "linear" else 1 - math.sin(math.pi / 2 * (1 - progress))
