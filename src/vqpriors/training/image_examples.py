"""Pictures as training examples."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.data.pixels import to_unit_range
from vqpriors.training.shuffling import WHOLE


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

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = WHOLE
    ) -> dict[str, Tensor]:
        """Return "images", (B, C, H, W) float32 in -1..1, and "labels", (B, A) int64, if any.

        Of a part of some rows; see `Examples`.
        """
        images = to_unit_range(self.pixels[rows[part]])
        if generator is not None and self.shift:
            offsets = torch.randint(2 * self.shift + 1, (2, len(rows)), generator=generator)
            images = shifted(images, offsets[:, part], limit=self.shift)
        labels = {} if self.labels is None else {"labels": self.labels[rows[part]]}
        return {"images": images} | labels


def shifted(images: Tensor, offsets: Tensor, *, limit: int) -> Tensor:
    """Displace each picture by its own whole number of pixels, up to `limit` either way.

    Args:
        images: (B, C, H, W) float.
        offsets: Row and column of each picture's window in its padded self, (2, B) int64 in
            0..2 `limit`; `limit` leaves a picture where it is.
        limit: Pixels by which edges are repeated.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (limit,) * 4, mode="replicate")
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    picture = torch.arange(batch)[:, None, None, None]
    return padded[picture, torch.arange(channels)[None, :, None, None], rows, columns]
