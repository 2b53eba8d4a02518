"""A convolutional stem for the captioner: codebook vectors and local context of each cell.

Its output is added to the embeddings before attention. Code numbers alone do not show which codes
stand for similar patches or which cells are neighbours; from few pictures, attention learns neither
well.

Reference:
    Xiao et al. 2021, Early convolutions help transformers see better, arXiv:2106.14881.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn.linear import Linear
from vqpriors.nn.norm import RMSNorm


class ConvBlock(nn.Module):
    """Residual block of two 3x3 convolutions over the grid, with zero padding.

    Args:
        grid: Rows and columns.
        width: Width D of a cell's vector.
    """

    def __init__(self, *, grid: tuple[int, int], width: int):
        super().__init__()
        self.grid = grid
        self.norm = RMSNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D), raster order, to (B, N, D)."""
        planes = self.norm(x).transpose(1, 2).unflatten(2, self.grid)  # (B, D, rows, columns)
        planes = self.conv2(F.silu(self.conv1(planes)))
        return x + planes.flatten(2).transpose(1, 2)


class CodeStem(nn.Module):
    """Adds projected codebook vectors to the cells' embeddings, then runs convolutional blocks.

    Args:
        grid: Rows and columns.
        num_codes: Number of codes K.
        width: Width D of a cell's vector.
        depth: Number of `ConvBlock`s; each widens the receptive field by two cells on every side.

    Attributes:
        code_features: A vector for each code, (K, D) float; zeros until `set_codebook`.
    """

    code_features: Tensor

    def __init__(self, *, grid: tuple[int, int], num_codes: int, width: int, depth: int):
        super().__init__()
        self.register_buffer("code_features", torch.zeros(num_codes, width))
        self.project = Linear(width, width)
        self.blocks = nn.Sequential(*(ConvBlock(grid=grid, width=width) for _ in range(depth)))

    @torch.no_grad()
    def set_codebook(self, codebook: Tensor) -> None:
        """Set the code features to the codebook, (K, V) float, rotated at random to width D.

        The rotation is the same in every run. Features have mean 0, and variance 1 over all codes
        and channels. Pairwise distances are preserved up to one factor if D >= V, and only
        approximately otherwise.
        """
        vectors = codebook.double() - codebook.double().mean(0)
        vectors /= vectors.square().mean().sqrt().clamp(min=1e-12)
        generator = torch.Generator().manual_seed(0)
        width = self.code_features.shape[1]
        shape = (max(vectors.shape[1], width),) * 2
        rotation, _ = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
        rotated = vectors @ rotation[: vectors.shape[1], :width].to(vectors.device)
        self.code_features.copy_(rotated * (shape[0] / vectors.shape[1]) ** 0.5)

    def forward(self, codes: Tensor, x: Tensor) -> Tensor:
        """Return features of cells, (B, N, D).

        Args:
            codes: (B, N) int64, raster order.
            x: The codes' embeddings, (B, N, D).
        """
        return self.blocks(x + F.embedding(codes, self.project(self.code_features)).to(x.dtype))
