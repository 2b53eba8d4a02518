"""Attention for priors: rotary positions over a grid, QK normalisation, a preallocated cache.

References:
    Su et al. 2021, RoFormer, arXiv:2104.09864 (rotary positions);
    Sun et al. 2024, LlamaGen, arXiv:2406.06525 (rotary positions over two axes);
    Dehghani et al. 2023, ViT-22B, arXiv:2302.05442 (QK normalisation).
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.residual import ResidualLinear

SHORT = 256  # keys up to which a CPU trains faster without torch's fused attention
MOST_SCORES = 2**26  # up to which a CPU may hold them all in half precision: 128 MiB


class KeyValueCache:
    """Keys and values of the positions decoded so far, written in place.

    Attributes:
        length: Positions filled.
    """

    def __init__(self, *, batch: int, heads: int, positions: int, head_width: int, like: Tensor):
        shape = (batch, heads, positions, head_width)
        self.keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.values = torch.zeros_like(self.keys)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write one position's (B, heads, 1, head_width) and return all that are filled."""
        self.keys[:, :, self.length] = keys[:, :, 0]
        self.values[:, :, self.length] = values[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def grid_rotation(rows: int, columns: int, head_width: int, *, base: float = 1e4) -> Tensor:
    """Turns of the rotary positions of a grid in raster order, preceded by an unrotated start.

    Half of a head's pairs turn with the row, half with the column.

    Args:
        rows: Rows of the grid.
        columns: Columns of the grid.
        head_width: Width of a head; a multiple of 4.
        base: Ratio of the slowest turn to the fastest.

    Returns:
        (2, 1 + rows * columns, head_width) float, as `turns_by`.
    """
    quarter = head_width // 4
    rates = base ** (-torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * rates, column.reshape(-1, 1) * rates], dim=1)
    return turns_by(torch.cat([torch.zeros(1, 2 * quarter), angles]))


def turns_by(angles: Tensor) -> Tensor:
    """Return what `rotate` multiplies with to turn by angles, (N, D / 2) radians.

    Returns:
        (2, N, D) float: of each channel its own factor, a cosine, and that of its pair's other
        channel, a sine with the sign of its side.
    """
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)])


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair (i, i + D/2) of a head's channels by its position's angle.

    Args:
        x: (B, heads, N, D).
        turns: (2, N, D) float, of `turns_by`.
    """
    own, other = turns.to(x.dtype).unbind(0)
    return torch.addcmul(x * own, x.roll(x.shape[-1] // 2, dims=-1), other)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Mix values by the softmax of scaled dot products.

    Args:
        query: (B, heads, N, D).
        key: (B, heads, L, D); the computation has its dtype.
        value: (B, heads, L, D).
        mask: True where a query may look, broadcast to (B, heads, N, L) bool; None for everywhere.
        is_causal: Whether query i sees only keys up to i; without a mask, and with L = N.

    Returns:
        (B, heads, N, D).
    """
    query = query.to(key.dtype)
    if not _is_fused_slow(query, key):
        is_other = key.dtype != working_dtype(key)  # autocast would undo it
        with torch.autocast(key.device.type, enabled=False) if is_other else nullcontext():
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=is_causal
            )
    if is_causal:
        mask = torch.ones(key.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril()
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, heads, N, L)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value


def _is_fused_slow(query: Tensor, key: Tensor) -> bool:
    if key.device.type != "cpu":
        return False
    # torch 2.13's fused backward on CPUs takes 5 to 10 times a plain one's time in bfloat16 over a
    # few dozen keys; over a thousand keys it is the faster one.
    if torch.is_grad_enabled() and query.requires_grad:
        return key.shape[2] <= SHORT
    # Its forward takes twice a plain one's, but for a single query; in float32 it is the faster.
    num_scores = query[..., 0].numel() * key.shape[2]
    return key.dtype.itemsize == 2 and query.shape[2] > 1 and num_scores <= MOST_SCORES


def kept_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype in which to keep keys and values for queries that come one at a time.

    On CPUs torch 2.13 attends from one query in bfloat16 at half to a fifth of float32's pace.
    """
    dtype = working_dtype(like)
    return torch.promote_types(dtype, torch.float32) if like.device.type == "cpu" else dtype


class SelfAttention(nn.Module):
    """Multi-head self-attention, causal or not, with an optional cache for decoding by steps."""

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = ResidualLinear(width, width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        *,
        is_causal: bool,
        turns: Tensor | None = None,
        is_real: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Attend over the positions of `x`, or of the cache and `x` together.

        Args:
            x: (B, N, D); N = 1 with a cache.
            is_causal: Whether a position sees only itself and those before it.
            turns: Rotary turns of these positions, (2, N, head_width).
            is_real: False at padding, (B, N) bool.
            cache: Keys and values of the positions before; `x` is appended to it.

        Returns:
            (B, N, D).
        """
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # (B, heads, N, head_width) each
        query, key = self.query_norm(query), self.key_norm(key)
        if turns is not None:
            query, key = rotate(query, turns), rotate(key, turns)
        if cache is not None:
            key, value = cache.append(key, value)
        mask = None if is_real is None else is_real[:, None, None, :]
        mixed = attend(query, key, value, mask=mask, is_causal=is_causal and cache is None)
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))


class CrossAttention(nn.Module):
    """Attention from image positions to caption tokens; keys and values are made once a picture."""

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = ResidualLinear(width, width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.dropout = nn.Dropout(dropout)

    def keys_values(self, text: Tensor, *, are_kept: bool = False) -> tuple[Tensor, Tensor]:
        """Project the text, (B, L, D), to keys and values, (B, heads, L, head_width) each.

        With `are_kept` they are of `kept_dtype`.
        """
        batch, length, _ = text.shape
        pair = self.key_value(text).view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        key, value = pair.unbind(0)
        key = self.key_norm(key)
        if not are_kept:
            return key, value
        return key.to(dtype := kept_dtype(key)), value.to(dtype)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], is_real: Tensor) -> Tensor:
        """Attend from `x`, (B, N, D), to the text where `is_real`, (B, L) bool, says so."""
        batch, length, width = x.shape
        key, value = keys_values
        query = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        query = self.query_norm(query)
        mixed = attend(query, key, value, mask=is_real[:, None, None, :])
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))
