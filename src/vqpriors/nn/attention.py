"""Attention for priors: rotary positions over a grid, QK normalisation, key-value cache.

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
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.residual import ResidualLinear

# Up to this many keys, by bytes per number, training on a CPU uses the plain formula.
MAX_UNFUSED_KEYS = {2: 256, 4: 64, 8: 64}
CHUNK = 2**22  # attention scores that a CPU computes at once in half precision: 8 MiB

Context = tuple[tuple[Tensor, Tensor], Tensor]
"""Keys and values of cross-attention, (B, heads, L, head_width) each, and their padding mask,
(B, L) bool, False at padding."""


class KeyValueCache:
    """Preallocated keys and values of the positions decoded so far.

    Attributes:
        length: Number of positions written.
        mask: True at the positions to attend to among those that `append` returns, broadcast to
            (B, heads, 1, N) bool; None for all.
    """

    mask: Tensor | None = None

    def __init__(self, *, batch: int, heads: int, positions: int, head_width: int, like: Tensor):
        shape = (batch, heads, positions, head_width)
        self.keys = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.values = torch.zeros_like(self.keys)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of one position; return those of all positions so far.

        Args:
            keys: (B, heads, 1, head_width).
            values: (B, heads, 1, head_width).

        Returns:
            Keys and values, (B, heads, length, head_width) each.
        """
        self.keys[:, :, self.length] = keys[:, :, 0]
        self.values[:, :, self.length] = values[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def grid_rope(rows: int, columns: int, head_width: int, *, base: float = 1e4) -> Tensor:
    """Return rotary tables of a start token, at angle 0, and a grid of codes in raster order.

    Half of a head's channel pairs are rotated by the row, the other half by the column.

    Args:
        rows: Rows of the grid.
        columns: Columns of the grid.
        head_width: Width of a head; a multiple of 4.
        base: Base of the geometric sequence of frequencies, radians per row or column.

    Returns:
        (2, 1 + rows * columns, head_width) float, as `rope_tables`.
    """
    quarter = head_width // 4
    frequencies = base ** (-torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = torch.cat(
        [row.reshape(-1, 1) * frequencies, column.reshape(-1, 1) * frequencies], dim=1
    )
    return rope_tables(torch.cat([torch.zeros(1, 2 * quarter), angles]))


def rope_tables(angles: Tensor) -> Tensor:
    """Return the cosines and sines with which `rotate` rotates pairs of channels.

    Args:
        angles: Angle of each position and pair, (N, D / 2) float, radians.

    Returns:
        (2, N, D) float: for each channel, the cosine that multiplies it, and the signed sine that
        multiplies the other channel of its pair.
    """
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)])


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate each pair (i, i + D/2) of a head's channels by its position's angle.

    Args:
        x: (B, heads, N, D).
        rope: (2, N, D) float, from `rope_tables`.

    Returns:
        (B, heads, N, D), in the dtype of `x`.
    """
    cos, sin = rope.to(x.dtype).unbind(0)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attention_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention, by the implementation that is fastest on the device.

    Args:
        query: (B, heads, N, D).
        key: (B, heads, L, D); attention is computed in its dtype.
        value: (B, heads, L, D).
        attention_mask: True where a query may attend to a key, broadcast to (B, heads, N, L) bool;
            None to attend to all.
        is_causal: Whether query i attends only to keys up to i; without a mask, and with L = N.

    Returns:
        (B, heads, N, D).
    """
    query = query.to(key.dtype)
    if not _is_fused_slow(query, key):
        is_cast = key.dtype != working_dtype(key)  # autocast would cast back to its own dtype
        with torch.autocast(key.device.type, enabled=False) if is_cast else nullcontext():
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, is_causal=is_causal
            )
    if is_causal:
        length = key.shape[2]
        attention_mask = torch.ones(length, length, dtype=torch.bool, device=key.device).tril()
    bias = None
    if attention_mask is not None:
        # Adding takes less time than `masked_fill`, whose backward pass fills a tensor too.
        bias = torch.zeros_like(attention_mask, dtype=working_dtype(query))
        bias.masked_fill_(~attention_mask, -torch.inf)
    if torch.is_grad_enabled() and query.requires_grad:
        return _attend_plainly(query, key, value, bias)
    return _attend_in_chunks(query, key, value, bias)


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (..., N, L)
    if bias is not None:
        scores.add_(bias)
    return scores.softmax(-1).to(value.dtype) @ value


def _attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attend in a few heads of the batch at a time, so that their scores stay in the cache."""
    batch, heads, length, _ = query.shape
    size = max(1, CHUNK // (length * key.shape[2]))
    if size >= batch * heads:
        return _attend_plainly(query, key, value, bias)
    parts = [each.flatten(0, 1).split(size) for each in (query, key, value)]
    biases = [None] * len(parts[0])
    if bias is not None:
        biases = bias.expand(batch, heads, -1, -1).flatten(0, 1).split(size)
    chunks = [_attend_plainly(*each) for each in zip(*parts, biases, strict=True)]
    return torch.cat(chunks).unflatten(0, (batch, heads))


def _is_fused_slow(query: Tensor, key: Tensor) -> bool:
    if key.device.type != "cpu":
        return False
    # In bfloat16, the backward pass of torch 2.13's fused attention takes 5 to 10 times as long as
    # that of the plain formula for a few dozen keys, and less time for a thousand. In float32, a
    # training step takes as long for 64 keys, and 0.9 of the time for 256.
    if torch.is_grad_enabled() and query.requires_grad:
        return key.shape[2] <= MAX_UNFUSED_KEYS[key.dtype.itemsize]
    # In bfloat16 the forward pass takes 1.3 times as long, except for a single query.
    return key.dtype.itemsize == 2 and query.shape[2] > 1


def cache_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype in which to cache keys and values, for one query at a time.

    On CPUs, torch 2.13's attention for one query takes 2 to 5 times as long in bfloat16 as in
    float32.
    """
    dtype = working_dtype(like)
    return torch.promote_types(dtype, torch.float32) if like.device.type == "cpu" else dtype


class SelfAttention(nn.Module):
    """Multi-head self-attention, causal or not, with an optional key-value cache."""

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = ResidualLinear(width, width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        *,
        is_causal: bool,
        rope: Tensor | None = None,
        padding_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Attend over the positions of `x`, or of the cache and `x` together.

        Args:
            x: (B, N, D); N = 1 with a cache.
            is_causal: Whether a position attends only to itself and those before it.
            rope: Rotary positions, (2, N, head_width), from `rope_tables`.
            padding_mask: False at padding, (B, N) bool.
            cache: Keys and values of earlier positions; those of `x` are appended.

        Returns:
            (B, N, D).
        """
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # (B, heads, N, head_width) each
        query, key = self.query_norm(query), self.key_norm(key)
        if rope is not None:
            query, key = rotate(query, rope), rotate(key, rope)
        if cache is not None:
            key, value = cache.append(key, value)
        mask = None if padding_mask is None else padding_mask[:, None, None, :]
        if cache is not None:
            mask, is_causal = cache.mask, False
        mixed = attend(query, key, value, attention_mask=mask, is_causal=is_causal)
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))


class CrossAttention(nn.Module):
    """Multi-head cross-attention to a context, whose keys and values are computed separately."""

    is_fsdp_unit = True
    fsdp_methods = ("keys_values",)

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = ResidualLinear(width, width, bias=False)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.dropout = Dropout(dropout)

    def keys_values(self, context: Tensor, *, for_cache: bool = False) -> tuple[Tensor, Tensor]:
        """Project the context, (B, L, D), to keys and values, (B, heads, L, head_width) each.

        With `for_cache` their dtype is `cache_dtype`.
        """
        batch, length, _ = context.shape
        pair = (
            self.key_value(context)
            .view(batch, length, 2, self.heads, self.head_width)
            .permute(2, 0, 3, 1, 4)
        )
        key, value = pair.unbind(0)
        key = self.key_norm(key)
        if not for_cache:
            return key, value
        return key.to(dtype := cache_dtype(key)), value.to(dtype)

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor], padding_mask: Tensor
    ) -> Tensor:
        """Attend from `x` to the context.

        Args:
            x: (B, N, D).
            keys_values: From `keys_values`.
            padding_mask: False at the context's padding, (B, L) bool.

        Returns:
            (B, N, D).
        """
        batch, length, width = x.shape
        key, value = keys_values
        query = self.query(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        query = self.query_norm(query)
        mixed = attend(query, key, value, attention_mask=padding_mask[:, None, None, :])
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))
