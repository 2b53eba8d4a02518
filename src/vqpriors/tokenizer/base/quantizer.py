"""The contract of a quantizer: continuous vectors to codes and back.

A quantizer module exports `Config` (a `Section`) and `build(config) -> Quantizer`. It computes in
float32 whatever the precision around it.
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class Quantized(NamedTuple):
    """What a quantizer makes of a batch.

    Attributes:
        vectors: What the decoder sees, with a straight-through gradient; (M, D) float32.
        codes: (M,) int64.
        losses: Named scalars for the training objective.
    """

    vectors: Tensor
    codes: Tensor
    losses: dict[str, Tensor]


class Quantizer(Protocol):
    """A module that maps vectors to codes of a codebook and codes to vectors."""

    num_codes: int
    """Codebook size K."""
    dim: int
    """Width D of a vector."""

    def __call__(self, vectors: Tensor) -> Quantized:
        """Quantize (M, D) vectors; in training mode the codebook may learn from them."""
        ...

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes, (M,) int64, of (M, D) vectors; changes nothing."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors, (..., D) float32, of (...) codes."""
        ...
