"""The convolutional block of judges."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A strided 3x3 convolution that halves the picture, then a residual 3x3 convolution.

    Group instead of batch normalisation: it has no running statistics, so weights can be averaged
    and the batch size does not matter.
    """

    is_fsdp_unit = True

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.halve_norm = nn.GroupNorm(8, out_channels)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(8, out_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) float to (B, out_channels, ceil(H / 2), ceil(W / 2)) float."""
        hidden = F.relu(self.halve_norm(self.halve(hidden)))  # (B, out_channels, H/2, W/2)
        return F.relu(hidden + self.refine_norm(self.refine(hidden)))


def make_blocks(*, channels: int, width: int, depth: int) -> nn.Sequential:
    """Return blocks of doubling widths: (B, channels, H, W) to (B, width 2^(depth-1), h, w)."""
    widths = [width * 2**level for level in range(depth)]
    pairs = zip([channels, *widths], widths, strict=False)
    return nn.Sequential(*(Block(in_channels=i, out_channels=o) for i, o in pairs))
