"""Pasting of the kept pixels of a picture over an in-painted one, with a soft edge.

Codes are redrawn in whole patches, and decoding changes the colours of their neighbours.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from vqpriors.inference.pictures import to_pictures

EDGE_SHARE = 32  # the soft edge is this part of the picture's edge wide


def paster(
    original: np.ndarray, marked: np.ndarray
) -> Callable[[list[Image.Image]], list[Image.Image]]:
    """Return a function that pastes the kept pixels of a picture over redrawn ones.

    Marked pixels stay as they are redrawn; the others become those of the picture again, those
    next to marked ones in part.

    Args:
        original: The picture, (C, H, W) uint8.
        marked: True where it is redrawn, (H, W) bool.
    """
    share = redrawn_share(marked, width=max(1, min(marked.shape) // EDGE_SHARE))

    def paste(pictures: list[Image.Image]) -> list[Image.Image]:
        drawn = [np.asarray(each) for each in pictures]
        pixels = np.stack(
            [each[None] if each.ndim == 2 else each.transpose(2, 0, 1) for each in drawn]
        )
        mixed = share * pixels + (1 - share) * original
        return to_pictures(mixed.round().astype(np.uint8))

    return paste


def redrawn_share(marked: np.ndarray, *, width: int) -> np.ndarray:
    """Return the share of the redrawn picture in each pixel.

    Args:
        marked: True where it is 1; (H, W) bool.
        width: Pixels beyond a marked one in which it falls to 0.

    Returns:
        (H, W) float64, 0 to 1.
    """
    share, reached = marked.astype(float), marked
    for distance in range(1, width + 1):
        padded = np.pad(reached, 1)
        rows, columns = reached.shape
        shifted = [padded[i : i + rows, k : k + columns] for i in range(3) for k in range(3)]
        grown = np.logical_or.reduce(shifted)
        share[grown & ~reached] = 1 - distance / (width + 1)
        reached = grown
    return share
