"""Folders that are whole or absent, and model folders: config.json, safetensors, a manifest.

Writing goes to a temporary folder beside the target, every file is flushed to disk, the SHA-256
manifest comes last and one rename makes the folder appear. Reading verifies the manifest, since
safetensors and parquet load a flipped bit without a word.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path`, with a manifest, if the block succeeds.

    A block that raises leaves `path` as it was. What earlier, killed writers of the same path left
    behind is removed first.

    Args:
        path: The folder to make or replace; its parent is made where missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".tmp-{path.name}-*"):
        shutil.rmtree(leftover)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        _seal(temporary)
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify(folder: Path) -> str:
    """Check every file of a folder against its manifest.

    Returns:
        The folder's fingerprint: 64 hex digits that change with any of its contents.

    Raises:
        ValueError: If the folder or its manifest is missing or unreadable, or a file is missing or
            differs from what was written.
    """
    fix = "restore it with `dvc checkout` or make it again with `dvc repro`"
    try:
        text = (folder / MANIFEST).read_text()
        files = json.loads(text)["files"]
        found = {name: _sha256(folder / name) for name in files}
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: missing; {fix}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / MANIFEST}: not a manifest; {fix}") from None
    for name, digest in files.items():
        if found[name] != digest:
            raise ValueError(f"{folder / name}: damaged (its SHA-256 is not the manifest's); {fix}")
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Model:
    """A model folder as read: what made it (JSON), its weights by name, its fingerprint."""

    config: dict[str, Any]
    weights: "dict[str, Tensor]"
    fingerprint: str


def save_model(
    path: Path,
    *,
    config: dict[str, Any],
    weights: "dict[str, Tensor]",
    last: "dict[str, Tensor] | None" = None,
) -> None:
    """Write a model folder.

    Args:
        path: The folder to make or replace.
        config: What is needed to build the module again; JSON values.
        weights: The module's state by name, which `load_model` reads.
        last: The state after the last update, kept beside the best in last.safetensors.
    """
    from safetensors.torch import save_file

    with new_folder(path) as folder:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(weights, folder / "model.safetensors")
        if last is not None:
            save_file(last, folder / "last.safetensors")


def load_model(path: Path) -> Model:
    """Read a model folder after verifying it.

    Raises:
        ValueError: As `verify`.
    """
    from safetensors.torch import load_file

    fingerprint = verify(path)
    config = json.loads((path / "config.json").read_text())
    return Model(config, load_file(path / "model.safetensors"), fingerprint)


def _seal(folder: Path) -> None:
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    manifest = {"files": {name: _sha256(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _replace(temporary: Path, path: Path) -> None:
    old = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    _flush(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
