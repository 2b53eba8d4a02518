"""Functions in C, compiled by the machine's C compiler when they are needed."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

COMPILERS = ("cc", "gcc", "clang")
FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
)
THREADS = "-fopenmp"  # not known to all compilers; without it, one thread computes
TIMEOUT = 300  # seconds

_IS_WANTED = ContextVar("is_wanted", default=False)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Say whether parts of a model may be compiled from C in this block."""
    token = _IS_WANTED.set(wanted)
    try:
        yield
    finally:
        _IS_WANTED.reset(token)


def is_compiling_wanted() -> bool:
    """Return what the innermost block of `compiling` says; outside, False."""
    return _IS_WANTED.get()


def has_fast_bfloat16(source: Path, like: Tensor) -> bool:
    """Return whether a file's code for bfloat16 is wanted, and can be used for a tensor."""
    return (
        not torch.compiler.is_compiling()
        and is_compiling_wanted()
        and like.device.type == "cpu"
        and like.dtype == torch.bfloat16
        and bfloat16_problem(source) is None
    )


@cache
def bfloat16_problem(source: Path) -> str | None:
    """Return why a file's code for bfloat16 can't be used on this machine; None if it can."""
    try:
        is_supported = bool(compile_c(source).is_supported())
    except RuntimeError as error:
        return str(error)
    return None if is_supported else "the processor has no AVX-512 BF16"


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's first number; NULL for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@cache
def compile_c(source: Path) -> ctypes.CDLL:
    """Compile a file to a shared library for this processor, and load it; takes about a second.

    Raises:
        RuntimeError: If there is no compiler, or it fails; in one line.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise RuntimeError(f"no C compiler found ({', '.join(COMPILERS)})")
    with TemporaryDirectory(prefix="vqpriors-") as folder:
        library = Path(folder) / source.with_suffix(".so").name
        command = [compiler, *FLAGS, str(source), "-o", str(library), "-lm"]
        error = ""
        for each in ([*command, THREADS], command):
            try:
                done = subprocess.run(each, capture_output=True, text=True, timeout=TIMEOUT)
            except (OSError, subprocess.SubprocessError) as failure:
                raise RuntimeError(f"{compiler}: {failure}") from None
            if done.returncode == 0:
                return _load(library)
            error = error or next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
    raise RuntimeError(f"{compiler}: {error}")


def _load(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # such as a folder of temporary files that forbids to run them
        raise RuntimeError(str(error)) from None
