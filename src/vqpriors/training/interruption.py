"""Being asked to stop: by Ctrl-C, by a terminating system, or by Slurm before time is up."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = os.EX_TEMPFAIL  # "try again later": 75


class StoppedError(Exception):
    """A run was asked to stop and has saved where it stands."""


class Interruption:
    """While entered, remembers the first signal instead of dying of it.

    A second Ctrl-C ends the process at once. Outside the main thread, where Python takes no
    signals, nothing is remembered.

    Attributes:
        name: Of the signal that came, such as "SIGTERM"; None before one does.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType] what signal() gave

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.name is None and number == signal.SIGINT:
            print("saving, then leaving; Ctrl-C again leaves at once", file=sys.stderr)
        self.name = self.name or signal.Signals(number).name
