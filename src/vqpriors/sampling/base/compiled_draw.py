"""Draws of codes from logits in C, for CPUs with AVX-512; see draw.c.

In torch, softmax and its cumulative sum, in float64, and the log-probabilities each pass over
memory.
"""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from vqpriors.core.compiler import compile_for, pointer, precision_of, uses_avx512

SOURCE = Path(__file__).with_name("draw.c")


def is_usable(logits: Tensor) -> bool:
    """Return whether `draw` is wanted and can be used for logits."""
    return uses_avx512(logits.device, precision_of(logits.dtype))


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a code from each row by inverse transform sampling.

    Args:
        logits: (M, K) bfloat16 or float32.
        uniform: (M,) float in 0..1.
        temperature: Divides the logits; above 0.

    Returns:
        Codes, (M,) int64, never one of probability 0, but K for a row with NaN; and their
        log-probabilities at temperature 1, (M,) float32.
    """
    logits, uniform = logits.contiguous(), uniform.double().contiguous()
    rows, count = logits.shape
    codes = torch.empty(rows, dtype=torch.int64)
    log_probabilities = torch.empty(rows, dtype=torch.float32)
    compile_for(SOURCE, logits.dtype).draw(
        *map(pointer, (codes, log_probabilities, logits, uniform)),
        ctypes.c_int64(rows),
        count,
        ctypes.c_float(temperature),
        torch.get_num_threads(),
    )
    return codes, log_probabilities
