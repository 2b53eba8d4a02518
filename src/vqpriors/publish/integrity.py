"""Whether what lies on disk is still what was written: model folders, checkpoints, DVC's cache.

DVC takes an object of its cache for whole when it is read-only, so that a flipped bit passes
`dvc status` and `dvc checkout`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vqpriors.core.artifact import verify

_LISTING = ".dir"  # ends the name of an object that lists the files of a folder


def find_damage(folder: Path) -> str | None:
    """Tell what is wrong with a folder that ought to have a manifest; None where it is whole.

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


def is_whole(cached: Path) -> bool:
    """Tell whether an object's contents have the MD5 that it is named by."""
    with cached.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return digest == cached.parent.name + cached.name.removesuffix(_LISTING)


def cache_path(cache: Path, digest: str) -> Path:
    """Return where an object lies, there or not; its MD5 may end with `.dir`."""
    return cache / digest[:2] / digest[2:]


def list_files(cache: Path, digest: str) -> list[tuple[str, str]]:
    """Return the path and the MD5 of each file of an output; of a file, an empty path.

    A folder whose listing is gone or unreadable has no files that could be told.
    """
    if not digest.endswith(_LISTING):
        return [("", digest)]
    try:
        entries = json.loads(cache_path(cache, digest).read_text())
        return [(entry["relpath"], entry["md5"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []
