"""Attention in bfloat16 or float32 in C, for CPUs with AVX-512; see attention.c.

In torch, attention of a few hundred queries spends half of its time in reading and writing scores.
In C, they stay in the processor's cache, as do the norm and the rotation of queries and keys.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqpriors.core.compiler import COLUMNS, compile_for, pointer, precision_of, uses_avx512
from vqpriors.nn.norm import EPSILON

SOURCE = Path(__file__).with_name("attention.c")
MAX_WIDTH = 256  # of a head, as in the source


class _Sizes(ctypes.Structure):
    _names = ("batch", "heads", "width", "is_causal", "threads")
    _fields_ = [*((name, ctypes.c_int32) for name in _names), ("epsilon", ctypes.c_float)]


class _Rows(ctypes.Structure):
    _fields_ = [
        ("numbers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("batch", "head", "row")),
        ("count", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("gain", "rope")),
    ]


def is_usable(query: Tensor) -> bool:
    """Return whether `attend` is wanted and can be used for queries of (B, heads, N, D)."""
    return query.shape[-1] <= MAX_WIDTH and uses_avx512(query.device, precision_of(query.dtype))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    query_gain: Tensor | None = None,
    key_gain: Tensor | None = None,
    rope: Tensor | None = None,
    padding_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Scaled dot-product attention, after an RMSNorm and a rotation of queries and keys.

    Args:
        query: (B, heads, N, D) bfloat16 or float32.
        key: (B, heads, L, D), in the same dtype.
        value: (B, heads, L, D), in the same dtype.
        query_gain: The weight of the queries' RMSNorm, (D) float; None for no norm.
        key_gain: The same for the keys.
        rope: Rotary positions, (2, N, D), from `rope_tables`, of queries and keys that get a norm;
            with L = N.
        padding_mask: False at keys that are padding, (B, L) bool; None for none.
        is_causal: Whether query i attends only to keys up to i; with L = N.

    Returns:
        (B, N, heads, D), in the same dtype.

    Raises:
        MemoryError: If memory is lacking.
    """
    bias = None
    if padding_mask is not None:
        mask = F.pad(padding_mask, (0, -padding_mask.shape[1] % COLUMNS), value=False)
        bias = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)
    return _Attention.apply(  # pyright: ignore[reportReturnType]
        query, key, value, query_gain, key_gain, rope, bias, is_causal, torch.is_grad_enabled()
    )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_gain: Tensor | None,
        key_gain: Tensor | None,
        rope: Tensor | None,
        bias: Tensor | None,
        is_causal: bool,
        is_trained: bool,
    ) -> Tensor:
        query, key, value = map(_with_adjacent_channels, (query, key, value))
        gains = [None if gain is None else gain.float() for gain in (query_gain, key_gain)]
        rope = None if rope is None else rope.float().contiguous()
        batch, heads, length, width = query.shape
        out = query.new_empty(batch, length, heads, width)
        sums = torch.empty(batch, heads, length) if is_trained else None
        _call(
            "attend",
            query.dtype,
            _sizes(query, is_causal),
            _rows(query, gains[0], rope),
            _rows(key, gains[1], rope),
            _rows(value),
            _rows(out.transpose(1, 2)),
            pointer(bias),
            pointer(sums),
        )
        if not is_trained:
            return out
        ctx.save_for_backward(query, key, value, *gains, rope, bias, out, sums)
        ctx.is_causal = is_causal
        ctx.gain_dtypes = [None if gain is None else gain.dtype for gain in (query_gain, key_gain)]
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] the decorator has no types
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, query_gain, key_gain, rope, bias, out, sums = ctx.saved_tensors
        gradient = _with_adjacent_channels(gradients[0].transpose(1, 2))
        given = [
            _rows(query, query_gain, rope),
            _rows(key, key_gain, rope),
            _rows(value),
            _rows(out.transpose(1, 2)),
            _rows(gradient),
        ]
        found = [_empty_like(each) for each in (query, key, value)]
        gains = torch.empty(2, *query.shape[:2], query.shape[-1])
        _call(
            "attend_backward",
            query.dtype,
            _sizes(query, ctx.is_causal),
            *given,
            pointer(bias),
            pointer(sums),
            *map(_rows, found),
            *map(pointer, gains),
        )
        for_gains = [
            None if dtype is None else gain.sum((0, 1)).to(dtype)
            for gain, dtype in zip(gains, ctx.gain_dtypes, strict=True)
        ]
        return (*found, *for_gains, None, None, None, None)


def _call(name: str, dtype: torch.dtype, sizes: _Sizes, *arguments: Any) -> None:
    given = [
        each if isinstance(each, ctypes.c_void_p) else ctypes.byref(each) for each in arguments
    ]
    if getattr(compile_for(SOURCE, dtype), name)(ctypes.byref(sizes), *given):
        raise MemoryError("attention in C: out of memory")


def _sizes(query: Tensor, is_causal: bool) -> _Sizes:
    batch, heads, _, width = query.shape
    threads = torch.get_num_threads()
    return _Sizes(batch, heads, width, is_causal, threads, EPSILON)


def _rows(rows: Tensor, gain: Tensor | None = None, rope: Tensor | None = None) -> _Rows:
    strides, count = rows.stride()[:3], rows.shape[2]
    rope = rope if gain is not None else None
    return _Rows(rows.data_ptr(), *strides, count, pointer(gain), pointer(rope))


def _with_adjacent_channels(rows: Tensor) -> Tensor:
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def _empty_like(rows: Tensor) -> Tensor:
    """Return memory for (B, heads, N, D), in which the heads of a position are adjacent."""
    return rows.new_empty(rows.transpose(1, 2).shape).transpose(1, 2)
