"""A folder that a run keeps across interruptions, used by one run at a time."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def run_folder(path: Path, *, keep: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Make a run's folder, lock it and those beside it, and remove it if the block succeeds.

    Those beside it, because other runs of the same stage write to the same places.

    Args:
        path: The folder; what is there stays.
        keep: Tells at the end whether to leave the folder.

    Raises:
        ValueError: If another process holds one of them.
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
        # The holder before may remove the lock at any time between these lines.
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
