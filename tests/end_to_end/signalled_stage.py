"""Run a stage that sends itself a signal at its first checkpoint.

Run as `python -m tests.end_to_end.signalled_stage STAGE NUMBER`. A signal sent from outside might
come after a tiny run has ended.
"""

import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(stage: str, number: int) -> None:
    """Run the stage as its command does."""
    import_module("stages")  # puts this checkout's `src` first on the path
    checkpoint = import_module("vqpriors.training.checkpoint")
    save = checkpoint.save

    def save_then_signal(folder: Path, saved: Any) -> None:
        save(folder, saved)
        checkpoint.save = save
        signal.raise_signal(number)

    checkpoint.save = save_then_signal
    sys.argv = sys.argv[:1]
    runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
