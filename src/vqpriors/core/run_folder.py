"""A locked folder for the partial results of a run, kept if the run is interrupted."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def run_folder(path: Path, *, keep: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Create and lock the folder of a run, and remove it if the block succeeds.

    The lock covers all folders beside it: other runs of the same stage write the same outputs.

    Args:
        path: The folder; existing contents are kept.
        keep: Called at the end; if it returns True, the folder is kept.

    Raises:
        ValueError: If another process holds the lock.
    """
    with _locked(path.parent / "lock"):
        path.mkdir(exist_ok=True)
        yield path
        if not keep():
            shutil.rmtree(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = _open_locked(path)
    try:
        yield
    finally:
        path.unlink()
        file.close()


def _open_locked(path: Path) -> TextIO:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The previous holder may remove the lock file at any time between these lines.
        with suppress(FileNotFoundError), ExitStack() as stack:
            file = stack.enter_context(path.open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problem = f"{path.parent}: another process is running this stage"
                raise ValueError(f"{problem}; wait for it to end or stop it") from None
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                stack.pop_all()
                return file
