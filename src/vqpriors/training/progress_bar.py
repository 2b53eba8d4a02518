"""Progress of a phase on the terminal, or as lines in a log file."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm


class Bar:
    """A bar on a terminal, a plain line every 10% elsewhere."""

    def __init__(self, name: str, *, total: int, done: int):
        self.is_terminal = sys.stderr.isatty()
        self.name, self.total, self.done, self.began = name, total, done, time.monotonic()
        self.loss: float | None = None
        self.bar = tqdm(desc=name, total=total, initial=done, disable=not self.is_terminal)

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one update; show the loss where there is one."""
        self.bar.update()
        before, self.done = self.done, self.done + 1
        if values:
            self.loss = values["loss"]
            self.bar.set_postfix_str(f"loss {self.loss:.4f}")
        if not self.is_terminal and before * 10 // self.total < self.done * 10 // self.total:
            seconds = time.monotonic() - self.began
            loss = "" if self.loss is None else f", loss {self.loss:.4f}"
            line = f"{self.name}: step {self.done}/{self.total}{loss}, {seconds:.0f} s"
            print(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()
