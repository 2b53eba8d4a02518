"""Scikit-learn's handwritten digits of 8x8 cells, enlarged with strokes of even thickness."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

CELLS = 8
_OVERSAMPLING = 4
_NEIGHBOURHOOD = 1.5  # standard deviation of the blur in cells, about the width of a stroke
# Threshold of the ink: _FLOOR + _SLOPE * local average; edges are _SOFTNESS wide, all in ink.
_FLOOR, _SLOPE, _SOFTNESS = 0.2, 0.75, 0.35


@dataclass(frozen=True)
class Handwriting:
    """Scikit-learn's handwritten digits.

    Attributes:
        glyphs: Ink, 0 to 1; (M, 8, 8) float32.
        digits: The digit of each glyph, 0 to 9; (M,) int.
        version: Version of scikit-learn.
        sha256: Hash of scikit-learn's glyphs and digits; 64 hex digits.
    """

    glyphs: np.ndarray
    digits: np.ndarray
    version: str
    sha256: str


def load() -> Handwriting:
    """Load the 1,797 glyphs that scikit-learn contains; needs no network."""
    import sklearn
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    images, digits = data.images, data.target
    content = images.astype("<f8").tobytes() + digits.astype("<i8").tobytes()
    glyphs = images.astype(np.float32) / 16
    return Handwriting(glyphs, digits, sklearn.__version__, hashlib.sha256(content).hexdigest())


def render_glyph(glyph: np.ndarray, *, size: int, canvas: int) -> Image.Image:
    """Draw an enlarged glyph in the middle of a canvas, by antialiased adaptive thresholding.

    The threshold rises with the local average of the ink: a global threshold would break faint
    strokes or fill the loops of thick ones.

    Args:
        glyph: Ink, 0 to 1; (8, 8) float32.
        size: Edge of the enlarged 8 cells, pixels; at most `canvas`.
        canvas: Edge of the image, pixels.

    Returns:
        Coverage, 0 to 255; a gray image of `canvas` x `canvas`.
    """
    margin = -(-CELLS * (canvas - size) // (2 * size)) + CELLS // 2
    cells = np.pad(glyph, margin)
    ink = _enlarge(cells, size, canvas, Image.Resampling.LANCZOS)
    average = _enlarge(_blur(cells), size, canvas, Image.Resampling.BICUBIC)
    level = np.clip((ink - _FLOOR - _SLOPE * average) / _SOFTNESS + 0.5, 0, 1)
    fine = level * level * (3 - 2 * level)
    coverage = fine.reshape(canvas, _OVERSAMPLING, canvas, _OVERSAMPLING).mean((1, 3))
    return Image.fromarray(np.round(255 * coverage).astype(np.uint8))


def _enlarge(cells: np.ndarray, size: int, canvas: int, kernel: Image.Resampling) -> np.ndarray:
    edge = CELLS * canvas / size  # edge of the canvas in cells
    start = (len(cells) - edge) / 2
    window = (start, start, start + edge, start + edge)
    fine = (canvas * _OVERSAMPLING, canvas * _OVERSAMPLING)
    return np.asarray(Image.fromarray(cells).resize(fine, kernel, box=window))


def _blur(cells: np.ndarray) -> np.ndarray:
    position = np.arange(len(cells)) / _NEIGHBOURHOOD
    kernel = np.exp(-0.5 * (position[:, None] - position) ** 2)
    kernel /= np.sqrt(2 * np.pi) * _NEIGHBOURHOOD
    return (kernel @ cells @ kernel).astype(np.float32)
