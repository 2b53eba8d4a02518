"""The stages of dvc.yaml, one script each, and their shared command line.

Puts this checkout's `src` first on the path: DVC runs a queued experiment in a temporary copy, and
an installed package would silently import the original checkout's code.
"""

import argparse
import ctypes
import errno
import gc
import os
import re
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqpriors.core.params import Params

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vqpriors.core.environment import prepare_environment

prepare_environment()  # before a stage imports torch

# <param or file>: <problem>, <any path>:<line>: <problem>, or <subject>: <problem>; <fix>
_EXPLAINED = re.compile(r"(\S*[./][^:;()]*|\w+|.*[./].*:\d+): .+|[^:;]+: .+; .+")
# A location in params.yaml without a folder; its text is the first in quotes.
_NO_FOLDER = re.compile(r"\S+\.location: [^';]*(folder|Hub)[^';]*'(?P<location>[^']*)'.*")
_TEMPORARY = (".dvc", "tmp", "exps")  # where DVC runs experiments of the queue and with --temp
_MALLOC = {  # option's number in malloc.h, value
    "M_MMAP_MAX": (-4, 0),  # allocate no tensor by mmap
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),  # free bytes to keep before returning memory to the system
    "M_TOP_PAD": (-2, 2**26),  # extra bytes per request to the system
}
_BATCH_SIZES = {  # params to lower where memory runs out
    "train_tokenizer": "tokenizer.train.batch_size",
    "train_judge": "judge.train.batch_size",
    "train_prior": "prior.train.batch_size",
    "encode": "encode.batch_size",
    "sample": "sample.batch_size",
    "evaluate": "evaluate.batch_size",
}
_FIXES = {
    errno.ENOSPC: "free some disk space and run it again",
    errno.EDQUOT: "free some of your disk quota and run it again",
    errno.EFBIG: "raise the file size limit and run it again",
    errno.EACCES: "check its permissions",
    errno.ENOENT: "run the stage that writes it (`dvc repro`)",
}


def run(stage: str, main: "Callable[[Params], None]") -> None:
    """Run a stage's main function on its params.

    An error prints `error: <stage>: <param or file>: <problem>; <fix>` in one line, without the fix
    if the problem implies it, and exits with 1.

    Args:
        stage: The stage's name in dvc.yaml.
        main: The stage's main function.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}", description=_description(main)
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    debug = parser.parse_args().debug
    from vqpriors.core.params import read_params  # after this checkout's `src` is on the path

    keep_freed_memory()
    # What has been imported is no garbage; to look through it again and again takes 0.5 s a stage.
    gc.freeze()
    try:
        with _warnings_in_one_line(stage):
            main(read_params(stage))
    except KeyboardInterrupt:
        sys.exit(f"error: {stage}: interrupted; run it again to continue")
    except Exception as error:
        if debug:
            raise
        sys.exit(f"error: {stage}: {_one_line(error, stage)}")


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones.

    By default it returns large blocks to the system at once, which then has to clear new pages for
    every tensor of every step: a sixth of a training step on CPUs. This affects speed only; C
    libraries without these options are left unchanged.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC.values():
            mallopt(option, value)


def _description(main: "Callable[[Params], None]") -> str:
    return (sys.modules[main.__module__].__doc__ or "").partition("\n")[0]


@contextmanager
def _warnings_in_one_line(stage: str) -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {stage}: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _hint_at_copy(text: str) -> str:
    """Explain that a relative folder is not in the temporary copy of a queued experiment."""
    found, parts = _NO_FOLDER.fullmatch(text), Path.cwd().parts
    starts = (i for i in range(len(parts)) if parts[i : i + 3] == _TEMPORARY)
    if not found or (start := next(starts, None)) is None:
        return ""
    location = Path(found["location"]).expanduser()
    original = Path(*parts[:start]) / location
    if location.is_absolute() or not ("no folder" in text or original.exists()):
        return ""  # perhaps the id of a repository on the Hub
    problem = "this experiment runs in a temporary copy of the repository"
    return f"; {problem}: give an absolute path, such as {original}"


def _is_out_of_memory(error: Exception) -> bool:
    from vqpriors.core.hardware import is_out_of_memory  # slow to import

    return is_out_of_memory(error)


def _one_line(error: Exception, stage: str) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno:
        problem = f"{error.filename or f'a file of {stage}'}: {os.strerror(error.errno).lower()}"
        return f"{problem}; {_FIXES.get(error.errno, 'check it and run it again')}"
    if isinstance(error, ValueError) and _EXPLAINED.fullmatch(text):
        return f"{text}{_hint_at_copy(text)}"
    if stage in _BATCH_SIZES and _is_out_of_memory(error):
        return f"{_BATCH_SIZES[stage]}: out of memory; lower it ({text[:200]})"
    if isinstance(error, sqlite3.OperationalError):  # from DVC, whose state is an SQLite file
        return f"DVC's state: {text}; check that the disk is not full and run it again"
    fix = f"run `python -m stages.{stage} --debug` for the traceback"
    return f"{type(error).__name__}: {text}; {fix}"
