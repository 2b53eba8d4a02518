"""Functions in C, compiled by the machine's C compiler when they are needed."""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

COMPILERS = ("cc", "gcc", "clang")
FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
)
THREADS = "-fopenmp"  # not known to all compilers; without it, one thread computes
TIMEOUT = 300  # seconds


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
