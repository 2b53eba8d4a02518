"""Encoded captions, the output of text encoders and the input of priors, and their sizes."""

from typing import NamedTuple

import torch
from torch import Tensor


class TextShape(NamedTuple):
    """Sizes of a text encoder's output.

    Attributes:
        length: Number of tokens L of a caption, padding included; 0 without text.
        vocabulary: Number of token ids V; 0 without text.
        feature_width: Width D of each token's features; 0 if the encoder returns only token ids.
    """

    length: int
    vocabulary: int
    feature_width: int


class TextInput(NamedTuple):
    """A batch of encoded captions. The empty caption is the null condition of guidance.

    Attributes:
        tokens: (B, L) int64.
        text_mask: False at padding, True at the first token of every caption; (B, L) bool.
        features: (B, L, D) float; None if the encoder returns only token ids.
    """

    tokens: Tensor
    text_mask: Tensor
    features: Tensor | None

    def select(self, rows: Tensor) -> "TextInput":
        """Select rows, (M,) int64."""
        features = None if self.features is None else self.features[rows]
        return TextInput(self.tokens[rows], self.text_mask[rows], features)

    def to(self, device: torch.device) -> "TextInput":
        """Copy to a device."""
        features = None if self.features is None else self.features.to(device)
        return TextInput(self.tokens.to(device), self.text_mask.to(device), features)
