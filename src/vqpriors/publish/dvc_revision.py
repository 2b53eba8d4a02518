"""Artifacts of another commit or experiment of a checkout, from DVC's cache or remote."""

import os
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vqpriors.publish.integrity import find_damage

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem


@contextmanager
def checkout_revision(
    folder: Path, revision: str, *, parts: Collection[str], besides: Collection[str]
) -> Iterator[Path]:
    """Yield a temporary copy of a folder at a revision, with some files beside it.

    Nothing in the checkout changes, and the folder need not exist in it.

    Args:
        folder: A folder in a git and DVC repository.
        revision: A commit, branch, tag or experiment.
        parts: Required subfolders, each with its manifest.
        besides: Optional files, relative to the folder, such as `../params.yaml`.

    Raises:
        ValueError: If there is no such repository or revision, or a part is not in the revision,
            neither in the cache nor in the remote, or damaged.
    """
    with TemporaryDirectory(prefix="vqpriors-") as temporary:
        target = Path(temporary)
        root, files = _open(folder, revision)
        place = Path(os.path.relpath(folder.resolve(), root))
        with closing(files):
            for part in parts:
                _get_part(files, place / part, target, name=str(folder / part), revision=revision)
            for name in besides:
                path = Path(os.path.normpath(place / name))
                if files.isfile(str(path)):
                    _get(files, path, target)
        try:
            yield target / place
        except ValueError as error:  # raised by the caller's code: name the revision, not the path
            raise ValueError(str(error).replace(f"{target}/", f"{revision}:")) from error


def _open(folder: Path, revision: str) -> "tuple[Path, DVCFileSystem]":
    """Return the root of a folder's repository and the file system of a revision."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import RevError, SCMError

    absolute = folder.resolve()
    existing = next(path for path in (absolute, *absolute.parents) if path.is_dir())
    try:
        root = Repo.find_root(str(existing))
        files = DVCFileSystem(root, rev=revision)
        _ = files.repo  # resolves the revision
        return Path(root), files
    except (NotDvcRepoError, SCMError) as error:
        if isinstance(error, RevError):
            problem = f"no revision {revision!r}; `git log` and `dvc exp show` list them"
        else:
            problem = (
                "not in a git and DVC repository, so it has no revisions; leave the revision out"
            )
    except DvcException as error:
        reason = " ".join(str(error).split())
        problem = f"revision {revision!r} can't be read ({reason})"
    raise ValueError(f"{folder}: {problem}")


def _get_part(
    files: "DVCFileSystem", path: Path, target: Path, *, name: str, revision: str
) -> None:
    if not files.isdir(str(path)):
        raise ValueError(f"{name}: not in revision {revision!r}; choose one with a finished run")
    try:
        _get(files, path, target)
    except Exception as error:  # each kind of remote raises its own types
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{name}: of revision {revision!r}, neither in DVC's cache nor in its remote; get it "
            "with `dvc fetch --all-commits` or `dvc exp pull`, or make it again with `dvc repro`"
        ) from None
    if problem := find_damage(target / path):
        problem = problem.replace(str(target / path), name)
        fix = "`make verify` says how to restore it"
        raise ValueError(f"{problem} in DVC's cache, of revision {revision!r}; {fix}")


def _get(files: "DVCFileSystem", path: Path, target: Path) -> None:
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    files.get(str(path), str(target / path), recursive=True)
