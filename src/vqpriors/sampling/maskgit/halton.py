"""The Halton sequence as a decoding order of the cells of a grid."""

import torch
from torch import Tensor


def halton_ranks(rows: int, columns: int) -> Tensor:
    """Rank the cells of a grid by a low-discrepancy sequence, so that early ones are far apart.

    Args:
        rows: Rows of the grid.
        columns: Columns of the grid.

    Returns:
        The rank of each cell, 0 to rows * columns - 1, each once; raster order; (N,) int64.

    Reference:
        Besnier et al. 2025, Halton-MaskGIT, arXiv:2503.17076.
    """
    ranks: dict[int, int] = {}
    point = 1
    while len(ranks) < rows * columns:
        cell = _radical_inverse(point, 2, rows) * columns + _radical_inverse(point, 3, columns)
        ranks.setdefault(cell, len(ranks))
        point += 1
    return torch.tensor([ranks[cell] for cell in range(rows * columns)])


def _radical_inverse(number: int, base: int, size: int) -> int:
    """Mirror a number's digits at the point, 6 = 110 in base 2 to 0.011, and scale to 0..size - 1.

    In integers, since float rounding could turn 7/9 of 9 cells into cell 6.
    """
    mirrored, scale = 0, 1
    while number:
        number, digit = divmod(number, base)
        mirrored, scale = mirrored * base + digit, scale * base
    return mirrored * size // scale
