"""Loading of a generator's parts from a folder, a DVC revision or the Hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vqpriors.core.artifact import MANIFEST, verify
from vqpriors.data.decoding import ImageConfig
from vqpriors.data.token_spec import TokenSpec
from vqpriors.inference.bundle import (
    CHECKOUT_FILES,
    DEFAULT,
    DEFAULT_MODEL,
    PARTS,
    SETTINGS,
    local_folder,
)
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.loading import load_tokenizer

WEIGHTS = "model.safetensors"


class Parts(NamedTuple):
    """The trained parts of a generator; fields as the attributes of `Generator`."""

    prior: Any
    tokenizer: Any
    spec: TokenSpec
    encoder: TextEncoder
    image: ImageConfig
    arch: str
    folder: Path
    fingerprint: str


@contextmanager
def open_source(source: str | Path, revision: str | None) -> Iterator[Path]:
    """Yield the folder of a source of `Generator.load`; for a revision, a temporary copy.

    Raises:
        ValueError: If the source or a part is missing.
    """
    from vqpriors.publish import dvc_revision, hub  # lazily: no stage depends on `publish`

    folder = local_folder(source)
    if folder == DEFAULT_MODEL and revision is not None:
        raise ValueError(f"revision: {DEFAULT!r} comes with the package and has none; leave it out")
    if not folder.is_dir() and hub.is_id(source):
        folder = hub.fetch(str(source), revision, parts=PARTS, besides=[SETTINGS])
    elif revision is not None:
        around = [SETTINGS, *(f"../{name}" for name in CHECKOUT_FILES)]
        with dvc_revision.checkout_revision(folder, revision, parts=PARTS, besides=around) as copy:
            _require_parts(copy)
            yield copy
        return
    _require_parts(folder)
    yield folder


def load_parts(folder: Path, device: torch.device) -> Parts:
    """Load the parts in a folder to a device.

    Raises:
        ValueError: If a part is damaged or was trained with other parts.
    """
    tokenizer, spec = load_tokenizer(folder / "tokenizer", device)
    text = verify(folder / "text")
    prior = load_prior(folder / "prior", device, tokenizer=spec.fingerprint, encoder=text)
    config = json.loads((folder / "tokenizer/config.json").read_text())
    image = ImageConfig(
        size=config["image_size"],
        channels=config["channels"],
        resize=config.get("resize", "crop"),  # models of earlier versions do not say
        background=config.get("background", "#ffffff"),
    )
    arch = json.loads((folder / "prior/config.json").read_text())["arch"]
    encoder = load_encoder(folder / "text")
    fingerprint = json.loads((folder / "prior" / MANIFEST).read_text())["files"][WEIGHTS]
    return Parts(prior, tokenizer, spec, encoder, image, arch, folder, fingerprint)


def _require_parts(folder: Path) -> None:
    if not folder.is_dir():
        ways = "make it with `dvc repro`, get it with `dvc pull`, or give a Hub id or `default`"
        raise ValueError(f"{folder}: not there; {ways}")
    if (folder / MANIFEST).is_file():  # of a saved model; data/ has none
        verify(folder, only=[SETTINGS])
    for part in PARTS:
        if not (folder / part / MANIFEST).is_file():
            ways = "make it with `dvc repro`, or get it with `dvc pull`"
            raise ValueError(f"{folder / part}: not there; {ways}")
