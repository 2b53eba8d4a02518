"""How codes look, and a look around each of them, before attention looks at all.

Attention over code numbers knows nothing of strokes and edges: it has to learn from few pictures
which codes are alike and which cells touch.

Reference:
    Xiao et al. 2021, Early convolutions help transformers see better, arXiv:2106.14881.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn.norm import RMSNorm


class Glance(nn.Module):
    """Adds to each cell what two 3x3 convolutions see in and around it; beyond the grid are zeros.

    Args:
        grid: Rows and columns.
        width: Width D of a cell's vector.
    """

    def __init__(self, *, grid: tuple[int, int], width: int):
        super().__init__()
        self.grid = grid
        self.norm = RMSNorm(width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.wide = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D), raster order, to (B, N, D)."""
        planes = self.norm(x).transpose(1, 2).unflatten(2, self.grid)  # (B, D, rows, columns)
        seen = self.wide(F.silu(self.near(planes)))
        return x + seen.flatten(2).transpose(1, 2)


class Eyes(nn.Module):
    """Adds to each cell how its code looks, and what some glances see around it.

    Args:
        grid: Rows and columns.
        num_codes: Number of codes K.
        width: Width D of a cell's vector.
        depth: Number of glances; each sees two cells further.

    Attributes:
        looks: How each code looks, (K, D) float; zeros until `learn`.
    """

    looks: Tensor

    def __init__(self, *, grid: tuple[int, int], num_codes: int, width: int, depth: int):
        super().__init__()
        self.register_buffer("looks", torch.zeros(num_codes, width))
        self.project = nn.Linear(width, width, bias=False)
        self.blocks = nn.Sequential(*(Glance(grid=grid, width=width) for _ in range(depth)))

    @torch.no_grad()
    def learn(self, codebook: Tensor) -> None:
        """Keep vectors of any width V, (K, V) float, turned to D by a random but fixed matrix.

        All their channels together have mean 0 and variance 1, and their distances are kept where
        D is no less than V, nearly so where it is.
        """
        vectors = codebook.double() - codebook.double().mean(0)
        vectors /= vectors.square().mean().sqrt().clamp(min=1e-12)
        generator = torch.Generator().manual_seed(0)
        shape = (max(vectors.shape[1], self.looks.shape[1]),) * 2
        turn, _ = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
        turned = vectors @ turn[: vectors.shape[1], : self.looks.shape[1]].to(vectors.device)
        self.looks.copy_(turned * (shape[0] / vectors.shape[1]) ** 0.5)

    def forward(self, codes: Tensor, x: Tensor) -> Tensor:
        """Add what is seen of codes, (B, N) int64, raster order, to their vectors, (B, N, D)."""
        return self.blocks(x + F.embedding(codes, self.project(self.looks)).to(x.dtype))
