"""SIGKILL at the n-th point of a process: the points are before and after each file operation."""

import os
import shutil
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

OPERATIONS = ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "unlink"), (os, "mkdir"))
OPERATIONS += ((shutil, "rmtree"),)


class Points:
    """A counter of points that kills the process at the fatal one.

    Attributes:
        passed: Names of the points passed: "before fsync", "after fsync", ...
    """

    def __init__(self, fatal: int | None):
        self.fatal, self.passed = fatal, []

    def reach(self, name: str) -> None:
        """Pass a point, or die there."""
        if len(self.passed) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed.append(name)

    def watch(self) -> None:
        """Put a point before and after every file operation of this process, permanently."""
        for module, name in OPERATIONS:
            setattr(module, name, self._between(name, getattr(module, name)))

    def _between(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(act)
        def watched(*arguments: Any, **settings: Any) -> Any:
            self.reach(f"before {name}")
            done = act(*arguments, **settings)
            self.reach(f"after {name}")
            return done

        return watched


def in_child(work: Callable[[], None]) -> int:
    """Run a function in a forked process; return its exit code, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
