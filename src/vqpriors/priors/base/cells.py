"""Cells that a mask marks: masked codes, or tokens to draw."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Some cells of B rows of N, in raster order.

    With a mask as index, torch waits for a GPU to learn the number of results, so the number is
    passed where it is known.

    Attributes:
        mask: True at the cells, (B, N) bool.
        places: Place of each cell among all B * N, (M,) int64.
    """

    mask: Tensor
    places: Tensor

    @classmethod
    def of(cls, mask: Tensor, count: int | None = None) -> "Cells":
        """Return the cells of a mask.

        Args:
            mask: (B, N) bool.
            count: Their number M, if it is known; must be exact.
        """
        size = int(mask.sum()) if count is None else count
        return cls(mask, torch.nonzero_static(mask.flatten(), size=size)[:, 0])

    @classmethod
    def everywhere(cls, like: Tensor) -> "Cells":
        """Return all cells of (B, N)."""
        return cls.of(torch.ones_like(like, dtype=torch.bool), like.numel())

    def __len__(self) -> int:
        """Return M."""
        return len(self.places)

    def take(self, values: Tensor) -> Tensor:
        """Return the values at the cells, (M, ...), of (B, N, ...)."""
        return values.flatten(0, 1).index_select(0, self.places)

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """Return `into`, (B, N), with values, (M,), at the cells."""
        return into.masked_scatter(self.mask, values)

    def repeated(self, times: int) -> "Cells":
        """Return the cells of several copies of the B rows, one after another."""
        return Cells.of(self.mask.repeat(times, 1), times * len(self))
