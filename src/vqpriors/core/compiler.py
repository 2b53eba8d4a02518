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
ROWS, COLUMNS = 8, 32  # of a tile, as in avx512.h

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


def uses_avx512(device: torch.device, precision: Precision) -> bool:
    """Return whether code that includes avx512.h is wanted, and can run on a device."""
    is_wanted = not torch.compiler.is_compiling() and is_compiling_wanted()
    return is_wanted and avx512_problem(device, precision) is None


def avx512_problem(device: torch.device, precision: Precision = "bf16") -> str | None:
    """Return why code that includes avx512.h can't be used; None if it can.

    Args:
        device: Device of the model.
        precision: Precision of the code there: "bf16", or "no" for float32.
    """
    if device.type != "cpu":
        return "only for CPUs"
    return _avx512_problem(precision)


@cache
def _avx512_problem(precision: Precision) -> str | None:
    if precision not in ("no", "bf16"):
        return "only for bfloat16 and float32"
    try:
        level = compile_c(Path(__file__).with_name("avx512.c")).level()
    except RuntimeError as error:
        return str(error)
    if level >= (2 if precision == "bf16" else 1):
        return None
    return f"the processor has no AVX-512{' BF16' if level else ''}"


def compile_for(source: Path, dtype: torch.dtype) -> ctypes.CDLL:
    """Compile a file that includes avx512.h for float32 or bfloat16 numbers; see `compile_c`."""
    return compile_c(source, *(["-DFLOAT32"] if dtype == torch.float32 else []))


def precision_of(dtype: torch.dtype) -> Precision:
    """Return the precision of numbers of a dtype, for `uses_avx512`."""
    if dtype == torch.float32:
        return "no"
    return "bf16" if dtype == torch.bfloat16 else "fp16"


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's first number; NULL for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@cache
def compile_c(source: Path, *options: str) -> ctypes.CDLL:
    """Compile a file to a shared library for this processor, and load it; takes about a second.

    Raises:
        RuntimeError: If there is no compiler, or it fails; in one line.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise RuntimeError(f"no C compiler found ({', '.join(COMPILERS)})")
    with TemporaryDirectory(prefix="vqpriors-") as folder:
        library = Path(folder) / source.with_suffix(".so").name
        command = [compiler, *FLAGS, INCLUDE, *options, str(source), "-o", str(library), "-lm"]
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
