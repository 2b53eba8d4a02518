"""Generators on the Hugging Face hub: a folder goes up, the same folder comes back, no pickles."""

import errno
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from vqpriors.core.artifact import MANIFEST
from vqpriors.publish.integrity import find_damage

KINDS = ("json", "safetensors", "txt")  # of files that are fetched: a pickle could run any code
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"


def is_id(source: str | Path) -> bool:
    """Tell whether a text may name a repository on the hub: `owner/name`."""
    return isinstance(source, str) and _ID.fullmatch(source) is not None


def require_id(repository: str) -> None:
    """Refuse what can't be pushed to.

    Raises:
        ValueError: If it is no hub id.
    """
    if not is_id(repository):
        raise ValueError(f"{repository}: no hub id; give one such as owner/name")


def fetch(
    repository: str, revision: str | None, *, parts: Collection[str], besides: Collection[str]
) -> Path:
    """Return the folder of a repository's files in the hub's cache, fetched where they are not.

    Args:
        repository: `owner/name`.
        revision: A commit, tag or branch; None for the latest.
        parts: Folders that have to be there, each with its manifest.
        besides: Names of files beside them.

    Raises:
        ValueError: If they can't be fetched, a part is missing or anything is damaged.
    """
    files = [MANIFEST, *besides, *(f"{part}/*.{kind}" for part in parts for kind in KINDS)]
    folder = _download(repository, revision, files)
    for part in parts:
        if not (folder / part / MANIFEST).is_file():
            problem = f"there is no {part}/{MANIFEST} in it"
            raise ValueError(f"{repository}: {problem}; choose one that `push` has made")
    if _damage(folder, parts):  # of the cache, it may be
        folder = _download(repository, revision, files, anew=True)
    if problem := _damage(folder, parts):
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
    """Make a repository what a folder is, but for files beside it, in one commit.

    Args:
        folder: What `Generator.save` wrote.
        repository: `owner/name`; made if it is not there.
        is_private: Whether one that is made is hidden; one that is there stays as it is.
        branch: Where to commit; made if it is not there. None for the main one.
        parts: Folders from which files go that are there no more.

    Returns:
        The repository's address.

    Raises:
        ValueError: If it is no hub id, the hub can't be reached or refuses.
    """
    require_id(repository)
    from huggingface_hub import HfApi

    _hide_bars()
    with _explaining(repository, branch, before="", fix="go online"):
        api = HfApi()
        url = api.create_repo(repository, private=is_private, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=branch,
            commit_message="Push a generator of vqpriors",
            delete_patterns=[f"{part}/*" for part in parts],
        )
    return str(url)


def _download(
    repository: str, revision: str | None, files: list[str], *, anew: bool = False
) -> Path:
    from huggingface_hub import snapshot_download

    _hide_bars()
    before, fix = "no such folder, and ", "go online, or download it elsewhere and give that folder"
    with _explaining(repository, revision, before=before, fix=fix):
        found = snapshot_download(
            repository, revision=revision, allow_patterns=files, force_download=anew
        )
    return Path(found)


def _damage(folder: Path, parts: Collection[str]) -> str | None:
    """Tell what is wrong with a fetched folder; its own manifest lists those of its parts."""
    if (folder / MANIFEST).is_file():
        return find_damage(folder)
    return next(filter(None, (find_damage(folder / part) for part in parts)), None)


def _hide_bars() -> None:
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


@contextmanager
def _explaining(repository: str, revision: str | None, *, before: str, fix: str) -> Iterator[None]:
    """Turn what goes wrong between here and the hub into a line.

    Args:
        repository: `owner/name`.
        revision: The one asked for.
        before: What is said before that the hub can't be reached or has no such repository.
        fix: What helps where it can't be reached.
    """
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(f"{repository}: no hub id ({_line(error)}); correct it") from None
    except errors.RevisionNotFoundError:
        raise ValueError(f"{repository}: has no revision {revision!r}; correct it") from None
    except errors.GatedRepoError:
        raise ValueError(f"{repository}: not open to all; ask on its page, then {_LOGIN}") from None
    except errors.RepositoryNotFoundError:
        problem = f"{before}no such repository on the hub, or a private one"
        raise ValueError(f"{repository}: {problem}; correct it, or {_LOGIN}") from None
    except Exception as error:  # the network fails in as many ways as there are client libraries
        if getattr(error, "errno", None) in _FULL:
            raise
        response = getattr(error, "response", None)
        if response is not None and response.status_code in (401, 403):
            problem = f"the hub refuses; {_LOGIN}, with a token that may do so"
        elif response is not None:
            said = _line(getattr(error, "server_message", None) or error)
            problem = f"the hub answers {response.status_code} ({said}); try again later"
        elif constants.HF_HUB_OFFLINE:
            problem = f"{before}HF_HUB_OFFLINE switches the hub off; {fix}"
        else:
            problem = f"{before}the hub can't be reached; {fix}"
        raise ValueError(f"{repository}: {problem}") from error


def _line(text: object) -> str:
    return " ".join(str(text).split())
