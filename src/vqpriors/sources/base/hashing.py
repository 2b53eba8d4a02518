"""A hash that stands for a local data set, as a commit does for one of the hub."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def content_hash(folder: Path, paths: Iterable[Path]) -> str:
    """Hash files by their names below a folder and their contents.

    Returns:
        64 hex digits, whatever the order of `paths` and wherever the folder lies.
    """
    whole = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in set(paths)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{digest}  {name}\n".encode())
    return whole.hexdigest()
