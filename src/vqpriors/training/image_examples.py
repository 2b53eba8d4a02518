"""Images as training examples, with random shifts as augmentation."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.data.pixels import to_unit_range
from vqpriors.training.shuffling import ALL_ROWS


class ImageExamples:
    """Images in memory as uint8, converted to -1..1 batch by batch, with their targets.

    Args:
        pixels: (M, C, H, W) uint8.
        targets: Further tensors by name, each with a row for each image, (M, ...).
        shift: Largest random shift in training, pixels; edges are repeated.
    """

    def __init__(
        self, pixels: np.ndarray, *, targets: Mapping[str, Tensor] | None = None, shift: int = 0
    ):
        self.pixels = torch.from_numpy(pixels)
        self.targets = dict(targets or {})
        self.shift = shift

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = ALL_ROWS
    ) -> dict[str, Tensor]:
        """Return "images", (B, C, H, W) float32 in -1..1, and the rows of the targets.

        See `Examples` for the arguments.
        """
        images = to_unit_range(self.pixels[rows[part]])
        if generator is not None and self.shift:
            offsets = torch.randint(2 * self.shift + 1, (2, len(rows)), generator=generator)
            images = shifted(images, offsets[:, part], limit=self.shift)
        targets = {name: values[rows[part]] for name, values in self.targets.items()}
        return {"images": images} | targets


def shifted(images: Tensor, offsets: Tensor, *, limit: int) -> Tensor:
    """Shift each image by its own whole number of pixels, up to `limit` in each direction.

    Args:
        images: (B, C, H, W) float.
        offsets: Row and column of each image's window in the padded image, (2, B) int64 in
            0..2 `limit`; `limit` means no shift.
        limit: Pixels of edge padding.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (limit,) * 4, mode="replicate")
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    image = torch.arange(batch)[:, None, None, None]
    return padded[image, torch.arange(channels)[None, :, None, None], rows, columns]
