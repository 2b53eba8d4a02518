"""A look at the cells around each cell of a grid, before attention looks at all of them.

Attention knows nothing of strokes and edges and has to learn from few pictures which cells touch.

Reference:
    Xiao et al. 2021, Early convolutions help transformers see better, arXiv:2106.14881.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn.norm import RMSNorm


class Neighbours(nn.Module):
    """Adds to each cell what two 3x3 convolutions see around it; beyond the grid are zeros."""

    def __init__(self, *, grid: tuple[int, int], width: int):
        super().__init__()
        self.grid = grid
        self.norm = RMSNorm(width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.wide = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D), cells in raster order, to (B, N, D)."""
        planes = self.norm(x).transpose(1, 2).unflatten(2, self.grid)  # (B, D, rows, columns)
        seen = self.wide(F.silu(self.near(planes)))
        return x + seen.flatten(2).transpose(1, 2)
