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

from vqpriors.core.hardware import Precision

COMPILERS = ("cc", "gcc", "clang")
FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
)
INCLUDE = f"-I{Path(__file__).parent}"
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


def uses_bfloat16_code(device: torch.device) -> bool:
    """Return whether code that includes bfloat16.h is wanted, and can run on a device."""
    is_wanted = not torch.compiler.is_compiling() and is_compiling_wanted()
    return is_wanted and bfloat16_problem(device) is None


def bfloat16_problem(device: torch.device, precision: Precision = "bf16") -> str | None:
    """Return why code that includes bfloat16.h can't be used; None if it can.

    Args:
        device: Device of the model.
        precision: Precision of the model there, not "auto".
    """
    if device.type != "cpu":
        return "only for CPUs"
    return "only for bfloat16" if precision != "bf16" else _bfloat16_problem()


@cache
def _bfloat16_problem() -> str | None:
    try:
        is_supported = bool(compile_c(Path(__file__).with_name("bfloat16.c")).is_supported())
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
        command = [compiler, *FLAGS, INCLUDE, str(source), "-o", str(library), "-lm"]
        error = ""
        for each in ([*command, THREADS], command):
            try:
                done = subprocess.run(each, capture_output=True, text=True, timeout=TIMEOUT)
            except (OSError, subprocess.SubprocessError) as failure:
                raise RuntimeError(f"{compiler}: {failure}") from None
            if done.returncode:
                line = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
                error = error or line
                continue
            try:
                return ctypes.CDLL(str(library))
            except OSError as failure:  # it lacks a library for threads, or may not be run
                error = error or str(failure)
    raise RuntimeError(f"{compiler}: {error}")
