"""Masks of codes for in-painting, out-painting, variation and completion.

A code stands for a patch of the picture, so a mask of pixels becomes a mask of whole patches.
"""

import numpy as np

EDITS = ("in-painting", "out-painting", "variation", "completion")


def codes_to_keep(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Turn a mask of pixels into a mask of codes; a patch with any marked pixel is redrawn.

    Args:
        mask: True where the picture is to be redrawn; (H, W) bool.
        rows: Rows of codes; must divide H.
        columns: Columns of codes; must divide W.

    Returns:
        True where the code is kept; (rows * columns,) bool, raster order.

    Raises:
        ValueError: If the grid does not divide the mask.
    """
    if mask.ndim != 2 or mask.shape[0] % rows or mask.shape[1] % columns:
        raise ValueError(
            f"mask: width and height must be multiples of {columns} and {rows} pixels, "
            f"got {' x '.join(map(str, mask.shape[::-1]))}; resize it"
        )
    patches = mask.reshape(rows, mask.shape[0] // rows, columns, mask.shape[1] // columns)
    return ~patches.any(axis=(1, 3)).reshape(-1)


def edit_mask(edit: str, rows: int, columns: int, *, count: int, seed: int) -> np.ndarray:
    """Return the mask of the codes that an edit keeps.

    Args:
        edit: One of `EDITS`: "in-painting" redraws the middle, "out-painting" all but the middle,
            "variation" half of the codes at random, "completion" the lower half.
        rows: Rows of codes.
        columns: Columns of codes.
        count: Number of pictures M.
        seed: Seed of the random choice of a variation.

    Returns:
        True where the code is kept; (M, rows * columns) bool.
    """
    row, column = np.mgrid[:rows, :columns]
    middle = (abs(2 * row + 1 - rows) < rows / 2 + 1) & (
        abs(2 * column + 1 - columns) < columns / 2 + 1
    )
    if edit == "variation":
        keys = np.random.default_rng(seed).random((count, rows * columns))
        return keys.argsort(axis=1).argsort(axis=1) < rows * columns // 2
    keep = {"in-painting": ~middle, "out-painting": middle, "completion": row < rows // 2}[edit]
    return np.tile(keep.reshape(-1), (count, 1))
