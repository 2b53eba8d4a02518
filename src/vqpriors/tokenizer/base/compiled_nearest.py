"""The search for the nearest code in C, for CPUs with AVX-512 BF16; see nearest.c."""

from ctypes import c_int64
from pathlib import Path

import torch
from torch import Tensor

from vqpriors.core.compiler import compile_c, pointer, uses_avx512

SOURCE = Path(__file__).with_name("nearest.c")


def is_usable(vectors: Tensor) -> bool:
    """Return whether compiled code is wanted and can be used for vectors."""
    return vectors.dtype == torch.float32 and uses_avx512(vectors.device, "bf16")


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code by Euclidean distance, the first of ties; (M,) int64.

    Args:
        vectors: (M, D) float32.
        codebook: (K, D) float32.

    Raises:
        MemoryError: If memory is lacking.
    """
    vectors, codebook = vectors.contiguous(), codebook.contiguous()
    codes = torch.empty(len(vectors), dtype=torch.int64)
    given = (pointer(codes), pointer(vectors), pointer(codebook), c_int64(len(vectors)))
    if compile_c(SOURCE).nearest(*given, *codebook.shape, torch.get_num_threads()):
        raise MemoryError("nearest codes in C: out of memory")
    return codes
