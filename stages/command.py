"""What every stage's command line shares: its one option, and errors as one line."""

import argparse
import sys
from collections.abc import Callable

from vqpriors.params import Params, read_params


def run(stage: str, main: Callable[[Params], None]) -> None:
    """Run a stage's main function on its params; end the process with its exit code.

    An error prints `error: <stage>: <param or file>: <problem>; <fix>` and exits with 1.

    Args:
        stage: The stage's name in dvc.yaml.
        main: Does the stage's work.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}", description=_description(main)
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    debug = parser.parse_args().debug
    try:
        main(read_params(stage))
    except KeyboardInterrupt:
        sys.exit(f"error: {stage}: interrupted; run it again to go on")
    except Exception as error:
        if debug:
            raise
        sys.exit(f"error: {stage}: {_one_line(error)}")


def _description(main: Callable[[Params], None]) -> str:
    return (sys.modules[main.__module__].__doc__ or "").partition("\n")[0]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror.lower()}; {_os_fix(error)}"
    if isinstance(error, ValueError):
        return text
    return (
        f"{type(error).__name__}: {text}; run `python -m stages.<stage> --debug` for the traceback"
    )


def _os_fix(error: OSError) -> str:
    import errno

    fixes = {
        errno.ENOSPC: "free some disk space and run it again",
        errno.EFBIG: "raise the file size limit and run it again",
        errno.EACCES: "check its permissions",
        errno.ENOENT: "run the stage that makes it (`dvc repro`)",
    }
    return fixes.get(error.errno or 0, "check it and run it again")
