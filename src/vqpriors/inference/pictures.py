"""Conversion of pixels to pictures and back, and previews during sampling."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from torch import Tensor

from vqpriors.data.decoding import BadImageError, ImageConfig, fit, upright
from vqpriors.data.pixels import HIDDEN_GRAY, upscale_cells
from vqpriors.sampling.base.sampler import Callback, no_callback

PictureCallback = Callable[[list[Image.Image]], None]
"""Called after each decoding step with the pictures of a batch, gray where no code is drawn yet."""


def to_pictures(pixels: np.ndarray) -> list[Image.Image]:
    """Convert pixels, (M, C, H, W) uint8, to pictures."""
    return [
        Image.fromarray(each[0] if len(each) == 1 else each.transpose(1, 2, 0)) for each in pixels
    ]


def to_pixels(picture: Image.Image, config: ImageConfig) -> np.ndarray:
    """Convert a picture of any size and mode, after its EXIF orientation, to (C, H, W) uint8.

    Raises:
        ValueError: If its pixels can't be read.
    """
    try:
        return fit(upright(picture), config)
    except BadImageError as error:
        raise ValueError(f"picture: {error}") from None


def preview_callback(
    callback: PictureCallback | None,
    decode: Callable[[np.ndarray], np.ndarray],
    *,
    grid: tuple[int, int],
) -> Callback:
    """Return a callback for a sampler, which decodes the codes so far and passes pictures on.

    Args:
        callback: Is called with the pictures; None for none.
        decode: Decodes codes, (M, N) integers, to (M, C, H, W) uint8.
        grid: Rows and columns of codes.
    """
    if callback is None:
        return no_callback
    if not callable(callback):
        raise ValueError(f"callback: must be a function, got {callback!r}")

    def preview(codes: Tensor, mask: Tensor) -> None:
        pixels = decode(codes.masked_fill(mask, 0).cpu().numpy())
        hidden = upscale_cells(mask.cpu().numpy(), size=pixels.shape[2:], grid=grid)
        callback(to_pictures(np.where(hidden, HIDDEN_GRAY, pixels).astype(np.uint8)))

    return preview
