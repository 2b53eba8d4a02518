"""The contract of a text encoder: captions to tokens, and to features where it computes any.

A text module exports `Config` (a `Section`), `build(config, *, captions) -> TextEncoder`, which may
learn from the training captions or fetch from the hub, and `load(folder) -> TextEncoder`, which
needs no network.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from vqpriors.core.artifact import new_folder, verify
from vqpriors.core.registry import load_kind
from vqpriors.data.text_inputs import TextInput, TextShape


class TextEncoder(Protocol):
    """Encodes captions of any length, the empty one included.

    Attributes:
        pad: Id of padding, at which a text ends.
        shape: Sizes of what it gives.
    """

    pad: int
    shape: TextShape

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions; what exceeds the encoder's length is cut off."""
        ...

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the captions of B rows, as the encoder normalises them.

        A caption that fits comes back word for word, with usual spacing around punctuation. A row
        may hold anything, as one that a model wrote: its text ends at the first padding, special
        tokens and ids beyond the vocabulary are left out.

        Args:
            tokens: (B, L) int64.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what `load` needs into an existing folder."""
        ...


def save_encoder(path: Path, kind: str, encoder: TextEncoder) -> None:
    """Write an encoder as a folder that `load_encoder` reads."""
    with new_folder(path) as folder:
        (folder / "config.json").write_text(json.dumps({"encoder": kind}) + "\n")
        encoder.save(folder)


def load_encoder(folder: Path) -> TextEncoder:
    """Load an encoder; needs no network.

    Raises:
        ValueError: If the folder is damaged.
    """
    verify(folder)
    kind = json.loads((folder / "config.json").read_text())["encoder"]
    return load_kind("vqpriors.text", kind, param="text.encoder").load(folder)
