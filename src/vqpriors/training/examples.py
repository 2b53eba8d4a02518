"""The contract of training and validation data."""

from typing import Protocol

import torch
from torch import Tensor

from vqpriors.core.hardware import send
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


# Read as numbers, for which a GPU would be waited for. With several GPUs it is: DDP and FSDP move
# all tensors of a batch there.
ON_CPU = frozenset({"place", "batch_size", "draws", "text_is_empty"})


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copy a batch to a device, except for `ON_CPU`; a GPU is not waited for."""
    return {n: value if n in ON_CPU else send(value, device) for n, value in batch.items()}
