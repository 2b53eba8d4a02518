"""Graceful shutdown on signals: Ctrl-C, SIGTERM, and SIGUSR1, which Slurm sends before a limit."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = os.EX_TEMPFAIL  # "try again later": 75


class StoppedError(Exception):
    """A run was stopped by a signal, after it saved a checkpoint."""


class Interruption:
    """A context manager that records the first signal instead of ending the process.

    A second Ctrl-C ends the process at once. Outside the main thread Python allows no signal
    handlers, so signals are not recorded.

    Attributes:
        name: Of the first signal, such as "SIGTERM"; None before there is one.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._record) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType] as returned by signal()

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.name is None and number == signal.SIGINT:
            print(
                "saving a checkpoint, then stopping; press Ctrl-C again to stop at once",
                file=sys.stderr,
            )
        self.name = self.name or signal.Signals(number).name
