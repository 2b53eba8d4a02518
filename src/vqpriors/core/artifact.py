"""Atomic writes of folders and files, SHA-256 manifests, and saved models.

A folder is written to a temporary folder beside the target, every file is flushed to disk, the
manifest is written last, and one rename moves the folder into place. Reading verifies the manifest,
since safetensors and parquet do not detect a flipped bit.
"""

import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
FORMAT = 2  # version of config.json and of the names of weights; see `load_model`
_HEX = "[0-9a-f]" * 32  # pattern of the unique part of a temporary name
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # constants of fcntl.h and linux/fs.h
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_OS_CODE = re.compile(r"\(os error (\d+)\)")  # as libraries written in Rust print system errors


@contextmanager
def new_folder(path: Path, *, besides: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path`, with a manifest, if the block succeeds.

    A link to a folder stays one, and its target is replaced. If the block raises, `path` is
    unchanged. Temporary folders that killed writers of the same path left behind are removed first.

    Args:
        path: The folder to create or replace; its parent is created if missing.
        besides: Files that users may edit: the manifest does not list them, and they may be
            replaced.

    Raises:
        ValueError: If `path` is a file, or has files that its manifest does not list.
    """
    path = path.resolve() if path.is_symlink() else path
    _require_own(path, besides)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".tmp-{glob.escape(path.name)}-{_HEX}"):
        shutil.rmtree(leftover)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        with _name_failed_file(path):
            yield temporary
            _write_manifest(temporary, without=besides)
            _require_own(path, besides)  # again, since writing may have taken long
            _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_replaceable(path: Path, *, required: str, allowed: Collection[str]) -> None:
    """Refuse a path if replacing it would delete files that `new_folder` did not write.

    Args:
        path: A folder that may be missing or empty.
        required: A file that the folder's manifest must list.
        allowed: Files that need not be in the manifest.

    Raises:
        ValueError: If the path is not a folder, or has files that its manifest does not list; names
            the first of them.
    """
    found, listed = _contents(path)
    if required not in listed:
        listed = set()  # the manifest of another kind of folder
    others = sorted(found - listed - ({MANIFEST, *allowed} if listed else set()))
    if others:
        raise ValueError(
            f"{path}: not empty, and {others[0]} was not written by save; choose another folder"
        )


def _require_own(path: Path, besides: Collection[str]) -> None:
    """Refuse to replace a folder with files that its manifest does not list."""
    found, listed = _contents(path)
    others = sorted(found - listed - ({MANIFEST, *besides} if listed else set()))
    if others:
        problem = f"has {others[0]}, which is not in its manifest and would be deleted"
        raise ValueError(f"{path}: {problem}; move that, or the whole folder, to another place")


def _contents(path: Path) -> tuple[set[str], set[str]]:
    """Return the files in a folder, which may be missing, and those that its manifest lists."""
    if not path.exists():
        return set(), set()
    if not path.is_dir():
        raise ValueError(f"{path}: is a file; choose a folder")
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_symlink() or not p.is_dir()}
    try:
        return found, set(json.loads((path / MANIFEST).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return found, set()


def remove_leftovers(folder: Path) -> None:
    """Remove all temporary files that killed calls of `new_file` left in a folder.

    No other process may be writing to it.
    """
    for leftover in folder.glob(f".tmp-{_HEX}-*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a path of a temporary file, which replaces `path` if the block succeeds.

    Temporary files that killed writers of the same path left behind are removed first.

    Args:
        path: The file to create or replace; its parent is created if missing.

    Raises:
        OSError: If the file can't be written; names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".tmp-{_HEX}-{glob.escape(path.name)}"):
        leftover.unlink(missing_ok=True)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}-{path.name}"
    try:
        with _name_failed_file(path):
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _name_failed_file(path: Path) -> Iterator[None]:
    """Add a path to storage errors, since the error of a full disk names no file."""
    try:
        yield
    except Exception as error:
        found = _OS_CODE.search(str(error))
        code = int(found[1]) if found else getattr(error, "errno", None)
        if code not in _STORAGE_ERRORS or getattr(error, "filename", None):
            raise
        raise OSError(code, os.strerror(code), str(path)) from error


def verify(folder: Path, *, only: Collection[str] | None = None) -> str:
    """Check every file of a folder against its manifest.

    Args:
        folder: The folder.
        only: Files to check; None for all.

    Returns:
        The folder's fingerprint: SHA-256 of its manifest, 64 hex digits.

    Raises:
        ValueError: If the folder or its manifest is missing or unreadable, or a file is missing or
            has changed since it was written.
    """
    fix = "restore it with `dvc checkout` or `dvc repro`, or save or download the model again"
    try:
        text = (folder / MANIFEST).read_text()
        files = dict(json.loads(text)["files"].items())
        checked = files if only is None else only
        found = {name: (_sha256(folder / name), files[name]) for name in checked}
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: missing; {fix}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder / MANIFEST}: not a manifest; {fix}") from None
    for name, (digest, expected) in found.items():
        if digest != expected:
            raise ValueError(f"{folder / name}: damaged (its SHA-256 is not the manifest's); {fix}")
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Model:
    """Contents of a model folder.

    Attributes:
        config: The description from which the module is built; JSON values.
        weights: The module's state by name.
        fingerprint: As `verify` returns it.
    """

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
        path: The folder to create or replace.
        config: The description from which the module is built; JSON values.
        weights: The module's best state by name, which `load_model` reads.
        last: Its state after the last update, saved as last.safetensors.
    """
    from safetensors.torch import save_file

    with new_folder(path) as folder:
        text = json.dumps({"format": FORMAT, **config}, indent=2)
        (folder / "config.json").write_text(f"{text}\n")
        save_file(weights, folder / "model.safetensors")
        if last is not None:
            save_file(last, folder / "last.safetensors")


def load_model(path: Path) -> Model:
    """Verify and read a model folder.

    Raises:
        ValueError: As `verify`, or if it was saved by an incompatible version of vqpriors.
    """
    from safetensors.torch import load_file

    fingerprint = verify(path)
    config = json.loads((path / "config.json").read_text())
    if (found := config.pop("format", 1)) != FORMAT:
        raise ValueError(
            f"{path}: saved in format {found}, but this version of vqpriors reads {FORMAT}; "
            "train it again with `dvc repro`, or use the version that saved it"
        )
    return Model(config, load_file(path / "model.safetensors"), fingerprint)


def _write_manifest(folder: Path, *, without: Collection[str]) -> None:
    for path in folder.rglob("*.safetensors"):  # which its library keeps from other users
        path.chmod(path.stat().st_mode & ~0o666 | (0o666 & ~_umask()))
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    names = sorted(found.difference(without))
    manifest = {"files": {name: _sha256(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _replace(temporary: Path, path: Path) -> None:
    old = temporary
    if not path.exists():
        temporary.rename(path)
    elif not _exchange(temporary, path):
        old = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
        path.rename(old)
        temporary.rename(path)
    _flush(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap the names of two folders atomically, so that neither is ever missing.

    Uses Linux's renameat2, which Python does not wrap. Returns False if the system or the file
    system does not support it.
    """
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    paths = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second))
    return renameat2(*paths, _RENAME_EXCHANGE) == 0


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
