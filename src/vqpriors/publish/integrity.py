"""Integrity of model folders, checkpoints and DVC's cache, by checksum.

DVC trusts an object of its cache if it is read-only, so that `dvc status` and `dvc checkout` do
not notice a flipped bit.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vqpriors.core.artifact import verify

_LISTING = ".dir"  # suffix of an object that lists the files of a folder


def find_damage(folder: Path) -> str | None:
    """Check a folder against its manifest; None means that it is intact.

    Returns:
        `<file>: <problem>`.
    """
    try:
        verify(folder)
    except ValueError as error:
        return str(error).partition(";")[0]
    return None


def cache_objects(cache: Path) -> Iterator[Path]:
    """Yield the objects of a DVC cache, in order.

    Args:
        cache: The folder of objects by MD5: `.dvc/cache/files/md5`.
    """
    yield from sorted(path for path in cache.glob("??/*") if path.is_file())


def is_intact(cached: Path) -> bool:
    """Return whether an object's name is the MD5 of its contents."""
    with cached.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return digest == cached.parent.name + cached.name.removesuffix(_LISTING)


def cache_path(cache: Path, digest: str) -> Path:
    """Return the path of an object, which need not exist; its MD5 may end with `.dir`."""
    return cache / digest[:2] / digest[2:]


def list_files(cache: Path, digest: str) -> list[tuple[str, str]]:
    """List the path and the MD5 of each file of an output; the path is empty if it is one file.

    Returns an empty list for a folder whose listing is missing or unreadable.
    """
    if not digest.endswith(_LISTING):
        return [("", digest)]
    try:
        entries = json.loads(cache_path(cache, digest).read_text())
        return [(entry["relpath"], entry["md5"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []
