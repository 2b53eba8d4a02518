"""Means of named scalars over steps and processes."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor


class RunningMeans:
    """Means of named scalars since they were last taken."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add this process's values of one step."""
        for name, value in values.items():
            total, value = self.sums.get(name), value.detach()
            self.sums[name] = value.clone() if total is None else total + value
        self.count += 1

    def take(self) -> dict[str, float]:
        """Return the means over steps and processes, and start again."""
        count = self.count * self.accelerator.num_processes
        totals = sum_over_processes(self.sums, self.accelerator)
        self.sums, self.count = {}, 0
        return {name: total / count for name, total in totals.items()}


def sum_over_processes(values: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """Add named scalars over all processes."""
    # One collective and one wait for the device, instead of one for each name.
    total: Any = accelerator.reduce(torch.stack([v.float() for v in values.values()]), "sum")
    return dict(zip(values, total.tolist(), strict=True))
