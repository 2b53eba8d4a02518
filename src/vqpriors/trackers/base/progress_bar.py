"""Progress bar of a phase on a terminal, or lines of progress in a log file."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

LINE_SECONDS = 60.0  # minimum time between lines that are not at a multiple of 10%


class ProgressBar:
    """A bar on a terminal; elsewhere a line every 10%, and every minute if 10% takes longer.

    Both show the loss, the speed and the remaining time.

    Args:
        name: Name of the phase.
        total: Updates of the phase.
        done: Updates before an interruption.
        is_shown: False for no output, as on all processes but the first.
    """

    def __init__(self, name: str, *, total: int, done: int, is_shown: bool = True):
        is_terminal = sys.stderr.isatty()
        self.has_lines = is_shown and not is_terminal
        self.name, self.total, self.done, self.first = name, total, done, done
        self.started_at = self.printed_at = time.monotonic()
        self.loss: float | None = None
        has_bar = is_shown and is_terminal
        self.bar = tqdm(desc=name, total=total, initial=done, disable=not has_bar)

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one update; show `values["loss"]`, unless `values` is empty."""
        self.bar.update()
        before, self.done = self.done, self.done + 1
        if values:
            self.loss = values["loss"]
            self.bar.set_postfix_str(f"loss {self.loss:.4f}")
        now = time.monotonic()
        is_tenth = before * 10 // self.total < self.done * 10 // self.total
        if self.has_lines and (is_tenth or (values and now - self.printed_at >= LINE_SECONDS)):
            self.printed_at = now
            print(self._line(now - self.started_at), file=sys.stderr)

    def _line(self, seconds: float) -> str:
        rate = (self.done - self.first) / max(seconds, 1e-9)
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        left = tqdm.format_interval((self.total - self.done) / rate)
        return f"{self.name}: step {self.done}/{self.total}{loss}, {rate:.2f} steps/s, {left} left"

    def close(self) -> None:
        """Close the bar; it stays on the terminal."""
        self.bar.close()
