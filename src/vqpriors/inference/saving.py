"""Saving of a generator as one folder, without training state, and pushing it to the Hub."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqpriors.core.artifact import load_model, new_folder, require_replaceable, save_model, verify
from vqpriors.inference.bundle import CARD, PARTS, SETTINGS
from vqpriors.inference.settings import settings_as_params

if TYPE_CHECKING:
    from vqpriors.inference.generator import Generator

CARD_HASH = "card_sha256"  # in settings.json

_LOG = logging.getLogger(__name__)


def save_generator(
    generator: "Generator", path: Path, name: str | None, *, is_half: bool = False
) -> None:
    """Write a folder that `Generator.load` reads; see `Generator.save`."""
    from vqpriors.publish.model_card import read_provenance, write_card

    provenance = read_provenance(generator.folder)
    require_replaceable(path, required=SETTINGS, allowed=[CARD])
    card = write_card(generator, name or path.absolute().name, provenance).encode()
    with new_folder(path, besides=[CARD]) as target:
        _write_parts(generator.folder, target, is_half=is_half)
        sample = settings_as_params(generator.defaults, generator.sampler)
        settings = {"sample": sample, "provenance": provenance.model_dump()}
        settings |= {CARD_HASH: hashlib.sha256(card).hexdigest()}
        (target / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
        edited = _edited_card(path)
        (target / CARD).write_bytes(card if edited is None else edited)
    if edited is not None:
        _LOG.warning("%s: has been edited and is kept as it is", path / CARD)


def _edited_card(folder: Path) -> bytes | None:
    """Return a folder's model card if it is not the one whose hash was saved with it."""
    try:
        card = (folder / CARD).read_bytes()
        saved = json.loads((folder / SETTINGS).read_text())[CARD_HASH]
    except (OSError, ValueError, KeyError, TypeError):  # none there, or damaged
        return None
    return None if hashlib.sha256(card).hexdigest() == saved else card


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


def _write_parts(source: Path, target: Path, *, is_half: bool) -> None:
    """Write the parts without their last weights, which only training needs."""
    shutil.copytree(source / "text", target / "text")
    tokenizer, prior = load_model(source / "tokenizer"), load_model(source / "prior")
    weights = {"tokenizer": tokenizer.weights, "prior": prior.weights}
    if is_half:
        weights = {part: _halved(each) for part, each in weights.items()}
    save_model(target / "tokenizer", config=tokenizer.config, weights=weights["tokenizer"])
    config = prior.config | {"tokenizer": verify(target / "tokenizer")}  # its new fingerprint
    save_model(target / "prior", config=config, weights=weights["prior"])


def _halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights to float16, except those that are too large for it."""
    largest = torch.finfo(torch.float16).max
    return {
        name: each.half() if each.is_floating_point() and each.abs().max() < largest else each
        for name, each in weights.items()
    }
