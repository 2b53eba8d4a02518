"""Products of few rows with a fixed matrix on a CPU, as in sampling code by code.

Their time is that of reading the matrix, so its layout decides. Measured on 2 cores, in float32, in
microseconds, for a matrix of 4096 x 256:

    rows                     1      2      4     32
    F.linear               706  1,127  1,327  1,458
    transposed in memory   271    484  1,418  1,299
    packed by oneDNN       454    403    298    994
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.core.hardware import working_dtype

FEW_ROWS, MANY_ROWS = 2, 64  # matrices are transposed for few rows, and as they are for many
MIN_PACKED = 2**17  # numbers in a matrix that is packed, for 2 to MANY_ROWS rows


class Product:
    """x @ weight.T for x with a known number of rows, in float32 without gradients.

    Args:
        weight: (N, K) float32, copied where another layout is faster.
        rows: Number of rows of x.
    """

    def __init__(self, weight: Tensor, *, rows: int):
        self.is_packed = False
        if 1 < rows <= MANY_ROWS and weight.numel() >= MIN_PACKED and _can_pack():
            self.weight, self.is_packed = (
                torch.ops.mkldnn._reorder_linear_weight(weight, rows),
                True,
            )
        elif rows <= FEW_ROWS and weight.shape[0] > weight.shape[1]:
            self.weight = weight.T.contiguous().T
        else:
            self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, K) to (rows, N)."""
        if self.is_packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return F.linear(x, self.weight)

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """Map (rows, K) to (rows, N) and add `to`, (rows, N)."""
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
    """Return whether a `Product` can be used: on a CPU, in float32, without gradients."""
    is_float32 = working_dtype(weight) == torch.float32
    return weight.device.type == "cpu" and is_float32 and not torch.is_grad_enabled()


def _can_pack() -> bool:
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in operators
    )
