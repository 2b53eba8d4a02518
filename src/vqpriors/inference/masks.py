"""Masks of pictures for in-painting: the pixels to redraw, cropped and resized as the picture.

A mask is white where the picture is redrawn and black where it is kept. Programs disagree about
masks with transparent parts, so their colours decide:

- Paint of one colour other than black, on a transparent layer: the paint is redrawn.
- Otherwise, as for black paint or a picture with a part erased, the transparent part is redrawn.
- Black and white paint beside transparent parts is ambiguous and refused.
"""

import numpy as np
from PIL import Image

from vqpriors.data.decoding import BadImageError, ImageConfig, split_alpha, upright

WHITE = 128  # gray levels from here on are white
COLOR_TOLERANCE = 32  # difference of the levels of one colour, for lossy files
BLACK_AND_WHITE = 0.9  # share of black and white pixels in a drawing of black and white paint,
# which has gray edges
_PAINT = "paint the part to redraw white and the rest black"


def read_mask(mask: Image.Image, picture: Image.Image, config: ImageConfig) -> np.ndarray:
    """Convert a mask to the working size, with the crop, padding or stretch of its picture.

    A pixel of the working size is marked if any pixel of the mask in it is.

    Args:
        mask: Of any mode, and of the picture's proportions.
        picture: The picture; only its size is used.
        config: The working size.

    Returns:
        True where the picture is to be redrawn; (H, W) bool.

    Raises:
        ValueError: If it marks nothing, its transparency is ambiguous, it can't be read, or its
            proportions are not those of the picture.
    """
    try:
        mask, picture = upright(mask), upright(picture)
        _check_size(mask.size, picture.size)
        marked = marked_pixels(mask)
    except BadImageError as error:
        raise ValueError(f"mask: {error}") from None
    found = _fit(marked, config)
    if not found.any():
        problem = "nothing is marked in the central square, to which pictures are cropped"
        raise ValueError(f"mask: {problem}; {_PAINT}")
    return found


def marked_pixels(mask: Image.Image) -> np.ndarray:
    """Return which pixels of a mask are to be redrawn; see above.

    Returns:
        At least one True; (height, width) bool.

    Raises:
        BadImageError: If none is, its transparency is ambiguous, or its mode can't be read.
    """
    colors, alpha = split_alpha(mask)
    lowest, highest = (255, 255) if alpha is None else alpha.getextrema()
    if highest == 0:
        raise BadImageError(f"nothing is marked, it is transparent everywhere; {_PAINT}")
    if alpha is None or lowest == highest:
        gray = np.asarray(colors.convert("L"))
        marked = gray >= WHITE
    else:
        gray, marked = np.zeros(1), _by_transparency(np.asarray(colors), np.asarray(alpha))
    if not marked.any():
        found = f" (its lightest pixel is {gray.max()} of 255)" if gray.max() else ""
        raise BadImageError(f"nothing is marked{found}; {_PAINT}")
    return marked


def _by_transparency(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Decide by the colours of the opaque part, (h, w, 3) and (h, w) uint8, what is marked."""
    # Relative to the most opaque pixel, since brushes may be translucent.
    is_opaque = opacity.astype(int) * 2 > opacity.max()
    paint = colors[is_opaque].astype(int)  # (M, 3)
    if (np.ptp(paint, axis=0) <= COLOR_TOLERANCE).all():
        return ~is_opaque if paint.max() < COLOR_TOLERANCE * 2 else is_opaque
    is_black = (paint <= COLOR_TOLERANCE).all(axis=1)
    is_white = (paint >= 255 - COLOR_TOLERANCE).all(axis=1)
    if (is_black | is_white).mean() >= BLACK_AND_WHITE:
        problem = "black, white and transparent parts, so what to redraw is unclear"
        raise BadImageError(f"{problem}; {_PAINT}, without transparency")
    return ~is_opaque


def _check_size(mask: tuple[int, int], picture: tuple[int, int]) -> None:
    """Compare proportions; a scaled edge may be rounded by less than a pixel."""
    if _is_scaled(mask, picture) or _is_scaled(picture, mask):
        return
    sizes = f"{mask[0]} x {mask[1]} pixels, but the picture has {picture[0]} x {picture[1]}"
    fix = "make both equally large"
    width, height = mask
    if _is_scaled((height, width), picture):
        fix = "turn one of them by 90 degrees, such as by the EXIF rotation of a photo"
    raise BadImageError(f"{sizes}; {fix}")


def _is_scaled(small: tuple[int, int], large: tuple[int, int]) -> bool:
    (width, height), (full_width, full_height) = small, large
    if width > full_width or height > full_height:
        return False
    off_width = abs(width - height * full_width / full_height)
    off_height = abs(height - width * full_height / full_width)
    return max(off_width, off_height) < 1


def _fit(marked: np.ndarray, config: ImageConfig) -> np.ndarray:
    height, width = marked.shape
    edge = config.size
    if config.resize == "stretch":
        return _resized(marked, (edge, edge))
    if config.resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resized(marked[top : top + side, left : left + side], (edge, edge))
    scale = edge / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (edge - height) // 2, (edge - width) // 2
    canvas = np.zeros((edge, edge), dtype=bool)
    canvas[top : top + height, left : left + width] = _resized(marked, (height, width))
    return canvas


def _resized(marked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink so that any marked pixel marks the one that covers it; enlarge by repeating pixels."""
    for axis, length in enumerate(size):
        starts = np.arange(length) * marked.shape[axis] // length
        marked = np.logical_or.reduceat(marked, starts, axis=axis)
    return marked
