"""Linear layers in bfloat16 or float32 in C, for CPUs with AVX-512; see linear.c.

As measured, products of many rows take 0.82 to 0.9 of the time of torch's in float32, and 0.95 in
bfloat16. A row's result does not depend on the other rows. The gradient of the weights is left to
torch, which is as fast.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqpriors.core.compiler import (
    COLUMNS,
    ROWS,
    compile_for,
    pointer,
    precision_of,
    uses_avx512,
)
from vqpriors.core.hardware import working_dtype

SOURCE = Path(__file__).with_name("linear.c")
_PLAIN, _TRANSPOSED, _GATED = range(3)  # as enum Kind in linear.c


def is_usable(x: Tensor, weight: Tensor) -> bool:
    """Return whether `linear` is wanted and can be used for x (..., K) and a weight (N, K).

    Not for one position of each picture, (B, 1, K): packing the weights would take longer than the
    product.
    """
    if x.ndim < 2 or x.numel() == 0 or x.shape[-1] != weight.shape[1]:
        return False
    is_step = x.ndim > 2 and x.shape[-2] == 1
    is_cast = torch.is_autocast_enabled(x.device.type)
    if is_step or not (is_cast or x.dtype == weight.dtype):
        return False
    is_even = not any(size % COLUMNS for size in weight.shape)
    return is_even and uses_avx512(x.device, precision_of(working_dtype(x)))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Map (..., K) float to (..., N) by a weight (N, K), in the dtype of products with `x`."""
    dtype = working_dtype(x)
    return _Linear.apply(x.to(dtype), weight.to(dtype))  # pyright: ignore[reportReturnType]


def swiglu(x: Tensor, weight: Tensor) -> Tensor:
    """Map (..., K) float to silu(gate) * up, (..., N / 2), without gradients.

    Args:
        x: As in `linear`.
        weight: Those of gate and up, (N, K).
    """
    dtype = working_dtype(x)
    return _multiply(x.to(dtype), weight.to(dtype), _GATED)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, _PLAIN)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] the decorator has no types
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (above,) = gradients
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            for_x = _multiply(above, weight, _TRANSPOSED)
        if ctx.needs_input_grad[1]:
            for_weight = above.flatten(0, -2).T @ x.flatten(0, -2)
        return for_x, for_weight


def _multiply(x: Tensor, weight: Tensor, kind: int) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    outputs, inputs = weight.T.shape if kind == _TRANSPOSED else weight.shape
    rows = x.flatten(0, -2)
    width = outputs // 2 if kind == _GATED else outputs
    out = x.new_empty(*x.shape[:-1], width)
    missing = max(0, ROWS - len(rows))
    if missing:
        rows = F.pad(rows, (0, 0, 0, missing))
    found = x.new_empty(ROWS, width) if missing else out
    packed = torch.empty_like(weight)
    compile_for(SOURCE, x.dtype).multiply(
        *map(pointer, (found, rows, weight, packed)),
        ctypes.c_int64(len(rows)),
        inputs,
        outputs,
        kind,
        torch.get_num_threads(),
    )
    return out.copy_(found[: ROWS - missing].view_as(out)) if missing else out
