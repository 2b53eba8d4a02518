"""Pictures as training examples."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.pixels import to_unit_range


class ImageExamples:
    """Pictures in memory as uint8, turned to -1..1 batch by batch, with labels where they have any.

    Args:
        pixels: (M, C, H, W) uint8.
        labels: (M, A) int64 class indices, -1 where unknown; None for pictures alone.
        shift: Largest random displacement in training, pixels; edges are repeated.
    """

    def __init__(self, pixels: np.ndarray, *, labels: np.ndarray | None = None, shift: int = 0):
        self.pixels = torch.from_numpy(pixels)
        self.labels = None if labels is None else torch.from_numpy(labels)
        self.shift = shift

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return "images", (B, C, H, W) float32 in -1..1, and "labels", (B, A) int64, if any."""
        images = to_unit_range(self.pixels[rows])
        if generator is not None and self.shift:
            images = shifted(images, self.shift, generator)
        return {"images": images} | ({} if self.labels is None else {"labels": self.labels[rows]})


def shifted(images: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Displace each picture by its own whole number of pixels, up to `limit` either way."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (limit,) * 4, mode="replicate")
    offsets = torch.randint(2 * limit + 1, (2, batch), generator=generator)
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    picture = torch.arange(batch)[:, None, None, None]
    return padded[picture, torch.arange(channels)[None, :, None, None], rows, columns]
