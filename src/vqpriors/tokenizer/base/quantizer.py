"""Contract of quantizers: maps between vectors and discrete codes.

To add a quantizer, add one module to `vqpriors.quantizers` and its params as the section
`tokenizer.<module>` of params.yaml. The module exports:

    Config: a `Section` with the keys of that section.
    build(config) -> Quantizer: an `nn.Module`, randomly initialised.
    COLLAPSE_FIX: optional, what helps if few codes are in use; a tokenizer with a codebook of its
        own exports it instead.

A quantizer computes in float32 even under autocast. Its state, such as a codebook, is in parameters
or buffers. With several processes, each gets its part of a batch, and updates of the state must be
the same on all of them (see `core/distributed.py`). A process's part may come in several calls: a
state that follows the batches changes in `end_update()`, which training calls once an update. A
state that is initialised from data has `is_initialised` and `initialise(vectors)`, which gets the
vectors of all these calls before the first.
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class Quantized(NamedTuple):
    """Output of a quantizer.

    Attributes:
        vectors: Quantized vectors, with a straight-through gradient; (M, D) float32.
        codes: (M,) int64.
        losses: Scalar losses by name, added to the reconstruction loss; may be empty.
    """

    vectors: Tensor
    codes: Tensor
    losses: dict[str, Tensor]


class Quantizer(Protocol):
    """A module that maps vectors to the codes of a codebook and codes to vectors."""

    num_codes: int
    """Codebook size K."""
    dim: int
    """Width D of a vector."""

    def __call__(self, vectors: Tensor) -> Quantized:
        """Quantize (M, D) float vectors; in training mode, may keep them for `end_update`."""
        ...

    def bound(self, vectors: Tensor) -> Tensor:
        """Return (M, D) vectors in the range of the codes' vectors, not yet quantized."""
        ...

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes, (M,) int64, of (M, D) vectors; never updates the codebook."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors, (..., D) float32, of codes, (...) int64."""
        ...
