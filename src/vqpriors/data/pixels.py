"""Pixels as network inputs (float, -1..1) and in files (uint8); masks and grids of pictures."""

import numpy as np
import torch
from torch import Tensor

HIDDEN_GRAY = 128  # gray level of masked pixels in figures


def to_unit_range(pixels: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 -1..1."""
    return pixels.float() / 127.5 - 1


def to_uint8(images: Tensor) -> np.ndarray:
    """Map float -1..1 to uint8 0..255 on the CPU, clamped and rounded."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).cpu().numpy()


def upscale_cells(cells: np.ndarray, *, size: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
    """Upsample masks of codes to masks of pixels (nearest neighbour).

    Args:
        cells: (..., rows * columns) bool, M masks in all.
        size: Height and width of the pictures.
        grid: Rows and columns of codes, which divide the size.

    Returns:
        (M, 1, H, W) bool.
    """
    patches = cells.reshape(-1, 1, *grid)
    return patches.repeat(size[0] // grid[0], axis=2).repeat(size[1] // grid[1], axis=3)


def tile(pixels: np.ndarray, *, columns: int, gap: int, scale: int) -> np.ndarray:
    """Arrange pictures in a grid, in raster order, on white.

    Args:
        pixels: (M, C, H, W) uint8.
        columns: Pictures per row.
        gap: Pixels between pictures.
        scale: Integer factor by which pictures are enlarged.

    Returns:
        (C, height, width) uint8.
    """
    large = pixels.repeat(scale, axis=2).repeat(scale, axis=3)
    rows = -(-len(large) // columns)
    height, width = large.shape[2] + gap, large.shape[3] + gap
    canvas = np.full((large.shape[1], rows * height - gap, columns * width - gap), 255, np.uint8)
    for i, picture in enumerate(large):
        top, left = i // columns * height, i % columns * width
        canvas[:, top : top + height - gap, left : left + width - gap] = picture
    return canvas
