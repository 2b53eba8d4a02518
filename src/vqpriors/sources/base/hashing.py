"""Content hash of a local data set: its version, as the commit is for a data set of the Hub."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def content_hash(folder: Path, paths: Iterable[Path]) -> str:
    """Hash the contents of files and their names relative to a folder.

    Returns:
        64 hex digits, independent of the order of `paths` and the location of the folder.
    """
    total = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in set(paths)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()
