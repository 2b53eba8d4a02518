"""No text: every caption is nothing, and a prior built for it has no text side."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput, TextShape


class Config(Section):
    """`text.none` of params.yaml: nothing to choose."""


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
        """Write nothing: there is nothing to keep."""


def build(config: Config, *, captions: Sequence[str]) -> NoText:
    """Return the encoder; neither argument matters."""
    return NoText()


def load(folder: Path) -> NoText:
    """Return the encoder."""
    return NoText()
