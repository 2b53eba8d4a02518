"""RMSNorm and SwiGLU in bfloat16 or float32 in C, for CPUs with AVX-512; see layers.c.

In torch, each makes several passes over memory.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqpriors.core.compiler import compile_for, pointer, precision_of, uses_avx512

SOURCE = Path(__file__).with_name("layers.c")
_CHUNK = 64  # rows whose gradients of a gain are summed in order


def is_usable(x: Tensor) -> bool:
    """Return whether compiled code is wanted and can be used for a tensor."""
    return uses_avx512(x.device, precision_of(x.dtype))


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Divide (..., D) by the root mean square over D, and multiply by (D) float."""
    return _RMSNorm.apply(x, weight, epsilon)  # pyright: ignore[reportReturnType]


def swiglu(gate_up: Tensor) -> Tensor:
    """Map gate and up, (..., 2 D), to silu(gate) * up, (..., D)."""
    return _SwiGLU.apply(gate_up)  # pyright: ignore[reportReturnType]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        x, gain = x.contiguous(), weight.float().contiguous()
        out = torch.empty_like(x)
        width = x.shape[-1]
        _call("rms_norm", out, x, gain, _rows(x), width, ctypes.c_float(epsilon))
        ctx.save_for_backward(x, gain)
        ctx.epsilon, ctx.dtype = epsilon, weight.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] the decorator has no types
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, gain = ctx.saved_tensors
        for_x, width = torch.empty_like(x), x.shape[-1]
        rows = _rows(x)
        for_gain = gain.new_empty(-(-rows.value // _CHUNK), width)
        given = (gradients[0].contiguous(), x, gain, rows, width, _CHUNK)
        _call("rms_norm_backward", for_x, for_gain, *given, ctypes.c_float(ctx.epsilon))
        return for_x, for_gain.sum(0).to(ctx.dtype), None


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate_up = gate_up.contiguous()
        *shape, both = gate_up.shape
        out = gate_up.new_empty(*shape, both // 2)
        _call("swiglu", out, gate_up, _rows(gate_up), both // 2)
        ctx.save_for_backward(gate_up)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] the decorator has no types
        ctx: Any, *gradients: Tensor
    ) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        found, width = torch.empty_like(gate_up), gate_up.shape[-1] // 2
        _call("swiglu_backward", found, gradients[0].contiguous(), gate_up, _rows(gate_up), width)
        return found


def _rows(x: Tensor) -> ctypes.c_int64:
    return ctypes.c_int64(x.numel() // max(1, x.shape[-1]))


def _call(name: str, out: Tensor, *arguments: Any) -> None:
    given = [pointer(each) if isinstance(each, Tensor) else each for each in arguments]
    function = getattr(compile_for(SOURCE, out.dtype), name)
    function(pointer(out), *given, torch.get_num_threads())
