"""Attention for priors: rotary positions over a grid, QK normalisation, key-value cache.

References:
    Su et al. 2021, RoFormer, arXiv:2104.09864 (rotary positions);
    Sun et al. 2024, LlamaGen, arXiv:2406.06525 (rotary positions over two axes);
    Dehghani et al. 2023, ViT-22B, arXiv:2302.05442 (QK normalisation).
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn import compiled_attention
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.linear import Linear, ResidualLinear
from vqpriors.nn.norm import RMSNorm

# Up to this many keys, by bytes per number, training on a CPU uses the plain formula.
MAX_UNFUSED_KEYS = {2: 256, 4: 64, 8: 64}
# In half precision, a CPU computes this many scores at once, 8 MiB, and of causal attention only
# those of this many queries.
CHUNK, CHUNK_QUERIES = 2**22, 256

_softmax_backward = torch.ops.aten._softmax_backward_data

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
    way = _fastest(query, key)
    if way == "fused":
        is_cast = key.dtype != working_dtype(key)  # autocast would cast back to its own dtype
        with torch.autocast(key.device.type, enabled=False) if is_cast else nullcontext():
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, is_causal=is_causal
            )
    bias = None if attention_mask is None else _bias(attention_mask, query)
    if way == "chunks":
        return _Chunks.apply(query, key, value, bias, is_causal)  # pyright: ignore[reportReturnType]
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, heads, N, L)
    if is_causal:
        bias = _causal_bias(key.shape[2], query)
    if bias is not None:
        scores.add_(bias)
    return scores.softmax(-1).to(value.dtype) @ value


def _fastest(query: Tensor, key: Tensor) -> Literal["fused", "plain", "chunks"]:
    """Choose an implementation by what torch 2.13 was measured to do."""
    if key.device.type != "cpu":
        return "fused"
    # On a CPU, the backward pass of fused attention in bfloat16 takes 5 to 10 times as long as that
    # of the plain formula for a few dozen keys. In float32, a training step takes as long for 64
    # keys, and 0.9 of the time for 256.
    is_trained = torch.is_grad_enabled() and query.requires_grad
    if is_trained and key.shape[2] <= MAX_UNFUSED_KEYS[key.dtype.itemsize]:
        return "plain"
    # In bfloat16, fused attention takes 1.3 times as long as `_Chunks`, except for one query.
    is_half = key.dtype.itemsize == 2 and query.shape[2] > 1
    return "chunks" if is_half and not torch.compiler.is_compiling() else "fused"


def _bias(attention_mask: Tensor, like: Tensor) -> Tensor:
    # Adding takes less time than `masked_fill`, whose backward pass fills a tensor too.
    bias = torch.zeros_like(attention_mask, dtype=like.dtype)
    return bias.masked_fill_(~attention_mask, -torch.inf)


def _causal_bias(length: int, like: Tensor) -> Tensor:
    return torch.full((length, length), -torch.inf, dtype=like.dtype, device=like.device).triu(1)


class _Chunks(torch.autograd.Function):
    """Attention that computes few scores at a time, so that they stay in the processor's cache.

    A chunk is a few heads of the batch, and of causal attention some of the queries, with the keys
    up to them. Scores are not kept: the backward pass computes them again.

    Reference:
        Dao et al. 2022, FlashAttention, arXiv:2205.14135 (the same, also over keys).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, is_causal: bool
    ) -> Tensor:
        shape = query.shape
        query = query.flatten(0, 1) * shape[-1] ** -0.5
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        if bias is not None:
            bias = bias.expand(*shape[:2], -1, -1).flatten(0, 1)
        ctx.save_for_backward(query, key, value, bias)
        ctx.shape, ctx.is_causal = shape, is_causal
        out = torch.empty_like(query)
        for heads, rows, keys in _chunks(query, key, is_causal):
            weights = _weights(query[heads, rows], key[heads, keys], bias, heads, is_causal)
            out[heads, rows] = weights @ value[heads, keys]
        return out.view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, bias = ctx.saved_tensors
        (gradient,) = gradients
        gradient = gradient.flatten(0, 1)
        for_query = torch.empty_like(query)
        for_key, for_value = torch.zeros_like(key), torch.zeros_like(value)
        for heads, rows, keys in _chunks(query, key, ctx.is_causal):
            weights = _weights(query[heads, rows], key[heads, keys], bias, heads, ctx.is_causal)
            above = gradient[heads, rows]
            for_value[heads, keys].baddbmm_(weights.transpose(1, 2), above)
            for_weights = above @ value[heads, keys].transpose(1, 2)
            for_scores = _softmax_backward(for_weights, weights, -1, weights.dtype)
            for_query[heads, rows] = for_scores @ key[heads, keys]
            for_key[heads, keys].baddbmm_(for_scores.transpose(1, 2), query[heads, rows])
        for_query.mul_(ctx.shape[-1] ** -0.5)
        return (
            for_query.view(ctx.shape),
            for_key.unflatten(0, ctx.shape[:2]),
            for_value.unflatten(0, ctx.shape[:2]),
            None,
            None,
        )


def _chunks(query: Tensor, key: Tensor, is_causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Yield heads, queries and keys of each chunk of (B heads, N, D) and (B heads, L, D)."""
    heads, length, num_keys = len(query), query.shape[1], key.shape[1]
    rows = min(length, CHUNK_QUERIES) if is_causal else length
    size = max(1, CHUNK // (rows * num_keys))
    for head in range(0, heads, size):
        for row in range(0, length, rows):
            last = min(row + rows, length)
            keys = slice(0, last if is_causal else num_keys)
            yield slice(head, head + size), slice(row, last), keys


def _weights(
    query: Tensor, key: Tensor, bias: Tensor | None, heads: slice, is_causal: bool
) -> Tensor:
    """Return the softmax of the scores of a chunk."""
    scores = query @ key.transpose(1, 2)
    if is_causal:
        length = query.shape[1]
        scores[:, :, -length:] += _causal_bias(length, scores)
    elif bias is not None:
        scores += bias[heads]
    return scores.softmax(-1).to(key.dtype)


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
        self.qkv = Linear(width, 3 * width)
        self.out = ResidualLinear(width, width)
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
        if cache is None and compiled_attention.is_usable(query):
            mixed = compiled_attention.attend(
                query,
                key,
                value,
                query_gain=self.query_norm.weight,
                key_gain=self.key_norm.weight,
                rope=rope,
                padding_mask=padding_mask,
                is_causal=is_causal,
            )
            return self.dropout(self.out(mixed.flatten(2)))
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
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.out = ResidualLinear(width, width)
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
        if compiled_attention.is_usable(query) and key.dtype == query.dtype:
            mixed = compiled_attention.attend(
                query,
                key,
                value,
                query_gain=self.query_norm.weight,
                padding_mask=padding_mask,
            )
            return self.dropout(self.out(mixed.flatten(2)))
        query = self.query_norm(query)
        mixed = attend(query, key, value, attention_mask=padding_mask[:, None, None, :])
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))
