"""Annealing schedules: how temperature and guidance change over the decoding steps."""

import math
from typing import Literal

Annealing = Literal["constant", "linear", "cosine"]


def falling(annealing: Annealing, step: int, steps: int) -> float:
    """Return the factor of a setting that falls to 0 at the last of the steps 0 to steps - 1.

    It is 1 in a single step: at temperature 0 all pictures of a caption would be the same.
    """
    if annealing == "constant" or steps == 1:
        return 1.0
    progress = (step + 1) / steps
    return 1 - progress if annealing == "linear" else 1 - math.sin(math.pi / 2 * progress)


def rising(annealing: Annealing, step: int, steps: int) -> float:
    """Return the factor of a setting that rises to 1 at the last of the steps 0 to steps - 1."""
    progress = (step + 1) / steps
    if annealing == "constant":
        return 1.0
    return progress if annealing == "linear" else 1 - math.sin(math.pi / 2 * (1 - progress))
