"""Finite scalar quantization: each channel is rounded to a few levels; no learned codebook.

Reference:
    Mentzer et al. 2023, Finite Scalar Quantization, arXiv:2309.15505.
"""

import math

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.tokenizer.base.quantizer import Quantized

MARGIN = 1e-3  # keeps the outermost levels within reach of finite inputs
COLLAPSE_FIX = "lower tokenizer.fsq.levels or train for more epochs"


class Config(Section):
    """`tokenizer.fsq` of params.yaml."""

    levels: list[int] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _check(cls, levels: list[int]) -> list[int]:
        if min(levels) < 2 or math.prod(levels) > 65536:
            raise ValueError(
                f"needs 2 or more levels each and a product of at most 65536, got {levels}"
            )
        return levels


class FiniteScalarQuantizer(nn.Module):
    """Finite scalar quantizer; a code is the mixed-radix number of its levels."""

    levels: Tensor
    radix: Tensor

    def __init__(self, *, levels: list[int]):
        super().__init__()
        self.num_codes, self.dim = math.prod(levels), len(levels)
        radix = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("radix", torch.tensor(radix), persistent=False)

    def forward(self, vectors: Tensor) -> Quantized:
        """Quantize (M, D) vectors; nothing is learned, so there is no loss."""
        with torch.autocast(vectors.device.type, enabled=False):
            bounded = self._bound(vectors.float())
            rounded = bounded + (bounded.round() - bounded).detach()
            return Quantized(rounded / (self.levels // 2), self._codes(rounded), {})

    def bound(self, vectors: Tensor) -> Tensor:
        """Return (M, D) vectors within half a level of the codes' vectors; float32."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self._bound(vectors.float()) / (self.levels // 2)

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes, (M,) int64, of (M, D) vectors."""
        return self._codes(self._bound(vectors.float()).round())

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors, (..., D) float32 in -1..1, of (...) codes."""
        half = self.levels // 2
        digits = codes[..., None] // self.radix % self.levels
        return (digits - half).float() / half

    def _bound(self, vectors: Tensor) -> Tensor:
        # An even number of levels has no middle level: a shift lets rounding reach all of them.
        half = (self.levels - 1) * (1 - MARGIN) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        # Two levels are the sign of the input; the shift would be infinite there.
        shift = torch.where(self.levels > 2, (offset / half).atanh(), 0.0)
        return (vectors + shift).tanh() * half - offset

    def _codes(self, rounded: Tensor) -> Tensor:
        digits = rounded.round().long() + self.levels // 2
        return (digits * self.radix).sum(-1)


def build(config: Config) -> FiniteScalarQuantizer:
    """Build the quantizer from its config."""
    return FiniteScalarQuantizer(levels=config.levels)
