"""Loading of a generator's parts from a folder, a DVC revision or the Hub, and saving them."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from vqpriors.core.artifact import MANIFEST, new_folder, require_replaceable, verify
from vqpriors.data.decoding import ImageConfig
from vqpriors.data.tokens import TokenSpec
from vqpriors.inference.bundle import CARD, CHECKOUT_FILES, PARTS, SETTINGS
from vqpriors.inference.settings import settings_as_params
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.loading import load_tokenizer

if TYPE_CHECKING:
    from vqpriors.inference.generator import Generator


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

    folder = Path(source)
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
        resize="crop",
        background="#ffffff",
    )
    arch = json.loads((folder / "prior/config.json").read_text())["arch"]
    encoder = load_encoder(folder / "text")
    fingerprint = hashlib.sha256((folder / "prior" / MANIFEST).read_bytes()).hexdigest()
    return Parts(prior, tokenizer, spec, encoder, image, arch, folder, fingerprint)


def save_generator(generator: "Generator", path: Path, name: str | None) -> None:
    """Write a folder that `Generator.load` reads; see `Generator.save`."""
    from vqpriors.publish.model_card import read_provenance, write_card

    provenance = read_provenance(generator.folder)
    require_replaceable(path, required=SETTINGS, allowed=[CARD])
    card = write_card(generator, name or path.absolute().name, provenance)
    with new_folder(path, besides=[CARD]) as target:
        for part in PARTS:
            shutil.copytree(generator.folder / part, target / part)
        sample = settings_as_params(generator.defaults, generator.sampler)
        settings = {"sample": sample, "provenance": provenance.model_dump()}
        (target / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
    (path / CARD).write_text(card)  # not in the manifest: it may be edited, here and on the Hub


def push_generator(
    generator: "Generator", repository: str, *, is_private: bool, branch: str | None
) -> str:
    """Save a generator and upload it to the Hub; see `Generator.push`."""
    from vqpriors.publish import hub

    hub.require_id(repository)
    with TemporaryDirectory(prefix="vqpriors-") as temporary:
        folder = Path(temporary) / "generator"
        save_generator(generator, folder, repository)
        return hub.push(folder, repository, is_private=is_private, branch=branch, parts=PARTS)


def _require_parts(folder: Path) -> None:
    if not folder.is_dir():
        ways = "make it with `dvc repro`, get it with `dvc pull`, or give a Hub id"
        raise ValueError(f"{folder}: not there; {ways}")
    for part in PARTS:
        if not (folder / part / MANIFEST).is_file():
            ways = "make it with `dvc repro`, or get it with `dvc pull`"
            raise ValueError(f"{folder / part}: not there; {ways}")
