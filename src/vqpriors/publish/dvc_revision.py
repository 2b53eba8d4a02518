"""A checkout's artifacts as of another commit or experiment, from DVC's cache or its remote."""

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
def copied(
    folder: Path, revision: str, *, parts: Collection[str], besides: Collection[str]
) -> Iterator[Path]:
    """Yield a copy of a folder as of a revision, with some files around it; it goes afterwards.

    Nothing in the checkout changes, and the folder need not be there now.

    Args:
        folder: In a repository of git and DVC.
        revision: A commit, branch, tag or experiment.
        parts: Folders in it that have to be there, each with its manifest.
        besides: Paths from the folder of files that may be there, such as `../params.yaml`.

    Raises:
        ValueError: If there is no such repository or revision, or a part is not in it, not to be
            had or damaged.
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
        except ValueError as error:  # of one who reads the copy, whose place says nothing
            raise ValueError(str(error).replace(f"{target}/", f"{revision}:")) from error


def _open(folder: Path, revision: str) -> "tuple[Path, DVCFileSystem]":
    """Return the root of a folder's repository, and its files as of a revision."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import RevError, SCMError

    whole = folder.resolve()
    near = next(path for path in (whole, *whole.parents) if path.is_dir())
    try:
        root = Repo.find_root(str(near))
        files = DVCFileSystem(root, rev=revision)
        _ = files.repo  # looks for the revision
        return Path(root), files
    except (NotDvcRepoError, SCMError) as error:
        if isinstance(error, RevError):
            problem = f"no revision {revision!r}; `git log` and `dvc exp show` list what there is"
        else:
            problem = "in no repository of git and DVC, so that it has no revisions; leave them out"
    except DvcException as error:
        reason = " ".join(str(error).split())
        problem = f"revision {revision!r} can't be read ({reason}); choose another"
    raise ValueError(f"{folder}: {problem}")


def _get_part(
    files: "DVCFileSystem", path: Path, target: Path, *, name: str, revision: str
) -> None:
    if not files.isdir(str(path)):
        raise ValueError(f"{name}: not in revision {revision!r}; choose one whose chain has run")
    try:
        _get(files, path, target)
    except Exception as error:  # a remote fails in as many ways as there are remotes
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{name}: of revision {revision!r}, neither in DVC's cache nor in its remote; bring it "
            "with `dvc fetch --all-commits` or `dvc exp pull`, or make it again with `dvc repro`"
        ) from None
    if problem := find_damage(target / path):
        problem = problem.replace(str(target / path), name)
        fix = "`make verify` says how it comes back"
        raise ValueError(f"{problem} in DVC's cache, of revision {revision!r}; {fix}")


def _get(files: "DVCFileSystem", path: Path, target: Path) -> None:
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    files.get(str(path), str(target / path), recursive=True)
