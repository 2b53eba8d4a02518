"""Upload and download of generators on the Hugging Face Hub, without pickles."""

import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from vqpriors.core.artifact import MANIFEST
from vqpriors.publish.foreign_files import find_foreign_file
from vqpriors.publish.hub_errors import (
    LOGIN,
    is_full_disk,
    is_unreachable,
    reason_of,
    status_of,
)
from vqpriors.publish.integrity import find_damage

SUFFIXES = ("json", "safetensors", "txt")  # of downloaded files; a pickle could run any code
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_id(source: str | Path) -> bool:
    """Return whether a text has the form of a Hub id: `owner/name`."""
    return isinstance(source, str) and _ID.fullmatch(source) is not None


def require_id(repository: str) -> None:
    """Check that a text has the form of a Hub id.

    Raises:
        ValueError: If it does not.
    """
    if not is_id(repository):
        raise ValueError(f"{repository}: not a Hub id; give one such as owner/name")


def fetch(
    repository: str, revision: str | None, *, parts: Collection[str], besides: Collection[str]
) -> Path:
    """Download the files of a repository that the Hub's cache lacks; return the cached folder.

    Args:
        repository: `owner/name`.
        revision: A commit, tag or branch; None for the latest.
        parts: Required folders, each with its manifest.
        besides: Optional files beside them.

    Raises:
        ValueError: If the download fails, a part is missing or a file is damaged.
    """
    files = [MANIFEST, *besides, *(f"{part}/*.{suffix}" for part in parts for suffix in SUFFIXES)]
    folder = _download(repository, revision, files)
    for part in parts:
        if not (folder / part / MANIFEST).is_file():
            problem = f"there is no {part}/{MANIFEST} in it"
            raise ValueError(f"{repository}: {problem}; choose one that `push` has written")
    if _find_damage(folder, parts):  # the repository may be intact, and only the cache damaged
        folder = _download(repository, revision, files, force=True)
    if problem := _find_damage(folder, parts):
        problem = problem.removeprefix(f"{folder}/")
        raise ValueError(f"{repository}: {problem}; load it again while online, or push it again")
    return folder


def push(
    folder: Path,
    repository: str,
    *,
    is_private: bool,
    branch: str | None,
    parts: Collection[str],
) -> str:
    """Upload a folder to a repository in one commit.

    Files of the repository that the folder lacks are kept, except those in `parts` that an earlier
    push wrote.

    Args:
        folder: A folder that `Generator.save` wrote.
        repository: `owner/name`; created if missing.
        is_private: Whether to create it as private; an existing repository is not changed.
        branch: The branch to commit to, created if missing; None for the main one.
        parts: Folders to replace.

    Returns:
        The repository's address.

    Raises:
        ValueError: If it is not a Hub id, the Hub can't be reached or refuses, or a file that
            `push` did not write would be replaced or deleted.
    """
    require_id(repository)
    from huggingface_hub import HfApi

    _hide_progress_bars()
    with _rewording_errors(repository, branch, before="", fix="go online", access="write"):
        api = HfApi()
        url = api.create_repo(repository, private=is_private, exist_ok=True)
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        foreign = find_foreign_file(api, repository, branch, parts=parts, names=names)
    if foreign:
        problem = f"has {foreign}, which `push` has not written and would replace or delete"
        raise ValueError(f"{repository}: {problem}; choose another repository or move that file")
    with _rewording_errors(repository, branch, before="", fix="go online", access="write"):
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=branch,
            commit_message="Push a vqpriors generator",
            delete_patterns=[f"{part}/*" for part in parts],
        )
    return str(url)


def _download(
    repository: str, revision: str | None, files: list[str], *, force: bool = False
) -> Path:
    from huggingface_hub import snapshot_download

    _hide_progress_bars()
    before, fix = "no such folder, and ", "go online, or download it elsewhere and give that folder"
    with _rewording_errors(repository, revision, before=before, fix=fix, access="read"):
        found = snapshot_download(
            repository, revision=revision, allow_patterns=files, force_download=force
        )
    return Path(found)


def _find_damage(folder: Path, parts: Collection[str]) -> str | None:
    """Check a downloaded folder; its own manifest, if any, covers those of its parts."""
    if (folder / MANIFEST).is_file():
        return find_damage(folder)
    return next(filter(None, (find_damage(folder / part) for part in parts)), None)


def _hide_progress_bars() -> None:
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


@contextmanager
def _rewording_errors(
    repository: str, revision: str | None, *, before: str, fix: str, access: str
) -> Iterator[None]:
    """Turn errors of the Hub into a ValueError of one line.

    Args:
        repository: `owner/name`.
        revision: The requested revision.
        before: Start of the message if the Hub can't be reached or has no such repository.
        fix: The fix if the Hub can't be reached.
        access: "read" or "write", which a token needs.
    """
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(f"{repository}: not a Hub id ({reason_of(error)})") from None
    except errors.RevisionNotFoundError:
        raise ValueError(f"{repository}: has no revision {revision!r}") from None
    except errors.GatedRepoError:
        raise ValueError(
            f"{repository}: access is gated; request it on its page, then {LOGIN}"
        ) from None
    except errors.RepositoryNotFoundError:
        problem = f"{before}no such repository on the Hub, or a private one"
        raise ValueError(f"{repository}: {problem}; correct the id, or {LOGIN}") from None
    except Exception as error:  # each HTTP library raises its own types
        if is_full_disk(error):
            raise
        status = status_of(error)
        if status in (401, 403):
            problem = f"the Hub refuses ({reason_of(error)}); {LOGIN}"
            problem = f"{problem}, with a token that has {access} access to it"
        elif status is not None and not isinstance(error, errors.LocalEntryNotFoundError):
            problem = f"the Hub answers {status} ({reason_of(error)}); try again later"
        elif constants.HF_HUB_OFFLINE:
            problem = f"{before}HF_HUB_OFFLINE is set; {fix}"
        elif is_unreachable(error):
            problem = f"{before}the Hub can't be reached; {fix}"
        else:
            problem = (
                f"can't be downloaded or uploaded ({type(error).__name__}: {reason_of(error)})"
            )
        raise ValueError(f"{repository}: {problem}") from error
