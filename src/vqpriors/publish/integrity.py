"""Integrity of model folders, checkpoints and DVC's cache, by checksum.

DVC does not check read-only objects of its cache, so `dvc status` and `dvc checkout` do not notice
a flipped bit.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vqpriors.core.artifact import verify

_LISTING = ".dir"  # suffix of objects that list the files of a folder


def find_damage(folder: Path) -> str | None:
    """Check a folder against its manifest.

    Returns:
        `<file>: <problem>`, or None if the folder is intact.
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
    """Return the path of an object, whether it exists or not.

    Args:
        cache: As `cache_objects`.
        digest: The object's MD5, followed by `.dir` if it lists the files of a folder.
    """
    return cache / digest[:2] / digest[2:]


def dvc_digest(folder: Path) -> str:
    """Return the MD5 that dvc.lock has for a folder of these files."""
    files = sorted(
        (path.relative_to(folder).parts, path) for path in folder.rglob("*") if path.is_file()
    )
    entries = []
    for parts, path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        entries.append({"md5": digest, "relpath": "/".join(parts)})
    listing = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(listing, usedforsecurity=False).hexdigest() + _LISTING


def list_files(cache: Path, digest: str) -> list[tuple[str, str]]:
    """List the files of an output of a stage.

    Args:
        cache: As `cache_objects`.
        digest: The output's MD5, as in dvc.lock.

    Returns:
        Pairs of path and MD5. An output that is a file has the path "". Empty for a folder whose
        listing is missing or unreadable.
    """
    if not digest.endswith(_LISTING):
        return [("", digest)]
    try:
        entries = json.loads(cache_path(cache, digest).read_text())
        return [(entry["relpath"], entry["md5"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []
