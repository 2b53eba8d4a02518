"""Files of a Hub repository that `push` has not written, and must not replace or delete."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from vqpriors.core.artifact import MANIFEST
from vqpriors.inference.bundle import CARD, SETTINGS

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def find_foreign_file(
    api: "HfApi",
    repository: str,
    branch: str | None,
    *,
    parts: Collection[str],
    names: Collection[str],
) -> str | None:
    """Return a file that an upload would replace or delete although no push has written it.

    Args:
        api: The Hub.
        repository: `owner/name`; must exist.
        branch: The branch; if missing, it will be made from the main one. None for the main one.
        parts: Folders whose other files the upload deletes.
        names: Files to upload.

    Returns:
        The first such file by name; None if there is none.
    """
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        found = set(api.list_repo_files(repository, revision=branch))
    except RevisionNotFoundError:
        branch = None
        found = set(api.list_repo_files(repository))
    own: set[str] = set()
    if {MANIFEST, SETTINGS} <= found:
        path = api.hf_hub_download(repository, MANIFEST, revision=branch)
        own = _listed(Path(path)) | {MANIFEST, CARD}  # the card may have been edited
    touched = {name for name in found if name in names or name.partition("/")[0] in parts}
    return min(touched - own, default=None)


def _listed(manifest: Path) -> set[str]:
    try:
        return set(json.loads(manifest.read_text())["files"])
    except (ValueError, KeyError, TypeError):
        return set()
