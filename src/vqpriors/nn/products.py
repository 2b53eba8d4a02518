"""Products of few rows with a fixed matrix on a CPU, as in sampling code by code.

Their time is that of reading the matrix, so its layout decides. Measured on 2 cores, in float32, in
microseconds, for a matrix of 4096 x 256:

    rows                     1      2      4     32
    F.linear               706  1,127  1,327  1,458
    transposed in memory   271    484  1,418  1,299
    packed by oneDNN       454    403    298    994

In bfloat16 the packed layout is the fastest for any number of rows up to 64 and any size.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.core.hardware import working_dtype

FEW_ROWS, MANY_ROWS = 2, 64  # matrices are transposed for few rows, and as they are for many
MIN_PACKED = 2**17  # numbers in a float32 matrix that is packed, for 2 to MANY_ROWS rows
FAST_DTYPES = (torch.float32, torch.bfloat16)


class Product:
    """x @ weight.T for x with a known number of rows, without gradients.

    Args:
        weight: (N, K) float32 or bfloat16, copied where another layout is faster.
        rows: Number of rows of x.

    Attributes:
        dtype: The weight's, in which the product is computed.
    """

    def __init__(self, weight: Tensor, *, rows: int):
        self.dtype = weight.dtype
        self.is_packed = _is_packing_faster(weight, rows) and _can_pack(weight.dtype)
        if self.is_packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        elif rows <= FEW_ROWS and weight.shape[0] > weight.shape[1]:
            self.weight = weight.T.contiguous().T
        else:
            self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, K) float to (rows, N), in `dtype`."""
        x = x.to(self.dtype)
        if self.is_packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return F.linear(x, self.weight)

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """Map (rows, K) float to (rows, N) and add `to`, (rows, N), in `dtype`."""
        x = x.to(self.dtype)
        if self.is_packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, to, self.weight, None, "add")
        return torch.addmm(to, x, self.weight.T)


def make_product(weight: Tensor, *, rows: int) -> Callable[[Tensor], Tensor]:
    """Return a function that multiplies (rows, K) by the transpose of (N, K), in the faster form.

    Args:
        weight: In the dtype of the product.
        rows: Number of rows.
    """
    if is_fast(weight):
        return Product(weight, rows=rows)
    return lambda x: F.linear(x, weight)


def is_fast(weight: Tensor) -> bool:
    """Return whether a `Product` can be used: on a CPU, in `FAST_DTYPES`, without gradients."""
    is_known = working_dtype(weight) in FAST_DTYPES
    return weight.device.type == "cpu" and is_known and not torch.is_grad_enabled()


def _is_packing_faster(weight: Tensor, rows: int) -> bool:
    if weight.dtype == torch.bfloat16:
        return rows <= MANY_ROWS
    return 1 < rows <= MANY_ROWS and weight.numel() >= MIN_PACKED


def _can_pack(dtype: torch.dtype) -> bool:
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    if not all(hasattr(torch.ops.mkldnn, name) for name in operators):
        return False
    if dtype == torch.bfloat16:  # not by oneDNN on processors without its instructions
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.backends.mkldnn.is_available()
