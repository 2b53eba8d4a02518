"""What text encoders give and priors take: captions as tokens or features, and their sizes."""

from typing import NamedTuple

import torch
from torch import Tensor


class TextShape(NamedTuple):
    """Sizes of an encoder's output.

    Attributes:
        length: Most tokens L of a caption; 0 for no text at all.
        vocabulary: Number of token ids V; 0 for no text at all.
        feature_width: Width of each token's features; 0 where tokens are ids only.
    """

    length: int
    vocabulary: int
    feature_width: int


class TextInput(NamedTuple):
    """A batch of encoded captions. The empty caption is the null condition of guidance.

    Attributes:
        tokens: (B, L) int64.
        is_real: False at padding; the first token of every caption is real; (B, L) bool.
        features: (B, L, D) float, or None where the encoder gives ids only.
    """

    tokens: Tensor
    is_real: Tensor
    features: Tensor | None

    def select(self, rows: Tensor) -> "TextInput":
        """Pick rows, (M,) int64."""
        features = None if self.features is None else self.features[rows]
        return TextInput(self.tokens[rows], self.is_real[rows], features)

    def to(self, device: torch.device) -> "TextInput":
        """Move to a device."""
        features = None if self.features is None else self.features.to(device)
        return TextInput(self.tokens.to(device), self.is_real.to(device), features)
