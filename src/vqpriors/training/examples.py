"""The contract of training and validation data."""

from typing import Protocol

import torch
from torch import Tensor

from vqpriors.training.shuffling import ALL_ROWS


class Examples(Protocol):
    """Training or validation data that returns batches of given rows."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = ALL_ROWS
    ) -> dict[str, Tensor]:
        """Return a batch of named tensors.

        Args:
            rows: Indices of the examples, (B,) int64.
            generator: Source of augmentation and caption dropout; None in evaluation, which has
                neither. A row's random numbers do not depend on `part`.
            part: Which of the B rows to return.
        """
        ...


ON_CPU = frozenset({"place", "batch_size"})  # read as numbers, for which a GPU would be waited for


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copy a batch to a device, except for `ON_CPU`; a GPU is not waited for."""
    if device.type == "cuda":  # copies from other memory wait
        batch = {n: value if n in ON_CPU else value.pin_memory() for n, value in batch.items()}
    return {
        name: value if name in ON_CPU else value.to(device, non_blocking=True)
        for name, value in batch.items()
    }
