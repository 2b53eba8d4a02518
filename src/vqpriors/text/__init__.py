"""The contract of a text encoder: captions to tokens, and to features where it computes any.

A text module exports `Config` (a `Section`), `build(config, *, captions) -> TextEncoder`, which may
learn from the training captions or fetch from the hub, and `load(folder) -> TextEncoder`, which
needs no network.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vqpriors.artifact import new_folder, verify
from vqpriors.conditioning import TextInput, TextShape
from vqpriors.plugins import load_kind


class TextEncoder(Protocol):
    """Encodes captions of any length, the empty one included."""

    shape: TextShape

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions; what exceeds the encoder's length is cut off."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load` needs into an existing folder."""
        ...


def save(path: Path, kind: str, encoder: TextEncoder) -> None:
    """Write an encoder as a folder that `load` reads."""
    with new_folder(path) as folder:
        (folder / "config.json").write_text(json.dumps({"encoder": kind}) + "\n")
        encoder.save(folder)


def load(folder: Path) -> TextEncoder:
    """Load an encoder; needs no network.

    Raises:
        ValueError: If the folder is damaged.
    """
    verify(folder)
    kind = json.loads((folder / "config.json").read_text())["encoder"]
    return load_kind("vqpriors.text", kind, param="text.encoder").load(folder)
