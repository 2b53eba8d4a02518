"""No text encoder: captions are ignored, and priors are unconditional."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput, TextShape


class Config(Section):
    """`text.none` of params.yaml, an empty section."""


class NoText:
    """Encodes every caption as zero tokens."""

    pad = 0
    shape = TextShape(length=0, vocabulary=0, feature_width=0)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Return (B, 0) tokens."""
        tokens = torch.zeros(len(captions), 0, dtype=torch.int64)
        return TextInput(tokens, tokens.bool(), None)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return B empty captions."""
        return [""] * len(tokens)

    def save(self, folder: Path) -> None:
        """Write nothing: there is no state."""


def build(config: Config, *, captions: Sequence[str]) -> NoText:
    """Return the encoder; both arguments are unused."""
    return NoText()


def load(folder: Path) -> NoText:
    """Return the encoder."""
    return NoText()
