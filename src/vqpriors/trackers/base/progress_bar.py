"""Progress of a phase on the terminal, or as lines in a log file."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

MINUTE = 60.0  # seconds between plain lines of slow steps, at least


class Bar:
    """A bar on a terminal; elsewhere a plain line every 10%, and every minute when that is longer.

    Either shows the loss, how fast it goes and how long it still takes.
    """

    def __init__(self, name: str, *, total: int, done: int, is_shown: bool = True):
        is_terminal = sys.stderr.isatty()
        self.has_lines = is_shown and not is_terminal
        self.name, self.total, self.done, self.first = name, total, done, done
        self.began = self.said = time.monotonic()
        self.loss: float | None = None
        has_bar = is_shown and is_terminal
        self.bar = tqdm(desc=name, total=total, initial=done, disable=not has_bar)

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one update; show the loss where there is one."""
        self.bar.update()
        before, self.done = self.done, self.done + 1
        if values:
            self.loss = values["loss"]
            self.bar.set_postfix_str(f"loss {self.loss:.4f}")
        now = time.monotonic()
        is_tenth = before * 10 // self.total < self.done * 10 // self.total
        if self.has_lines and (is_tenth or (values and now - self.said >= MINUTE)):
            self.said = now
            print(self._line(now - self.began), file=sys.stderr)

    def _line(self, seconds: float) -> str:
        rate = (self.done - self.first) / max(seconds, 1e-9)
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        left = tqdm.format_interval((self.total - self.done) / rate)
        return f"{self.name}: step {self.done}/{self.total}{loss}, {rate:.2f} steps/s, {left} left"

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()
