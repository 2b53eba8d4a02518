"""Trackers beside DVC's files, and the contract of one.

A tracker module exports `open_run(place: Place) -> Run`, and as `PACKAGE` what it needs installed.
What it does happens in a thread: one that is down, slow or missing is named once and costs seconds,
and training goes on. `metrics/` stays the truth whichever tracker is on.
"""

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL.Image import Image

from vqpriors.core.params import Section
from vqpriors.core.registry import load_kind

WAITING = 10_000  # points that may wait for a slow tracker; with more it is left out
LEAVING_SECONDS = 15.0  # how long a stage waits for it at its end


class TrackingConfig(Section):
    """`runtime.tracking` of params.yaml.

    Attributes:
        wandb: Whether Weights & Biases is on.
        mlflow: Whether MLflow is on.
        project: Name of the project in the tracker.
    """

    wandb: bool
    mlflow: bool
    project: str


@dataclass(frozen=True)
class Place:
    """Where a run is tracked.

    Attributes:
        project: The project's name.
        stage: The stage's.
        folder: The run's own, kept over interruptions: what a tracker knows it by lies there.
        config: Its params, for the tracker's tables.
    """

    project: str
    stage: str
    folder: Path
    config: Mapping[str, Any]


class Run(Protocol):
    """A run as a tracker sees it; points that it already has are left out."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name."""
        ...

    def show(self, step: int, name: str, picture: Image) -> None:
        """Add a picture."""
        ...

    def close(self, summary: Mapping[str, float]) -> None:
        """Add last values and end the run."""
        ...


class Patient:
    """Hands a run what it is to track, from a thread of its own, and outlives its failures."""

    def __init__(self, name: str, open_run: Callable[[], Run], *, say: Callable[[str], None]):
        self.name, self._say = name, say
        self._waiting: queue.Queue[Callable[[Run], None] | None] = queue.Queue(WAITING)
        self._is_given_up = False
        self._thread = threading.Thread(target=self._work, args=(open_run,), daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point, soon."""
        self._put(lambda run: run.log(step, values))

    def show(self, step: int, name: str, picture: Image) -> None:
        """Add a picture, soon."""
        self._put(lambda run: run.show(step, name, picture))

    def close(self, summary: Mapping[str, float]) -> None:
        """Add last values and end the run, soon."""
        self._put(lambda run: run.close(summary))

    def leave(self) -> None:
        """Wait, but not for long, until all is tracked; an interrupted run stays open."""
        self._put(None)
        if not self._is_given_up:
            self._thread.join(LEAVING_SECONDS)
            if self._thread.is_alive():
                self._give_up(f"not done {LEAVING_SECONDS:.0f} s after training")

    def _put(self, act: Callable[[Run], None] | None) -> None:
        if self._is_given_up:
            return
        try:
            self._waiting.put_nowait(act)
        except queue.Full:
            self._give_up(f"{WAITING:,} points wait for it")

    def _work(self, open_run: Callable[[], Run]) -> None:
        try:
            run = open_run()
            while (act := self._waiting.get()) is not None:
                act(run)
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _give_up(self, problem: str) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            self._say(f"runtime.tracking.{self.name}: {problem}; going on without it")


@contextmanager
def tracked(tracking: TrackingConfig, place: Place) -> Iterator[list[Patient]]:
    """Open a run with each tracker that is on; wait for them at the end of the block."""

    def say(text: str) -> None:
        print(f"warning: {place.stage}: {text}", file=sys.stderr)

    def opener(name: str) -> Callable[[], Run]:
        def open_run() -> Run:
            module = load_kind("vqpriors.trackers", name, param=f"runtime.tracking.{name}")
            try:
                return module.open_run(place)
            except ModuleNotFoundError as error:
                raise RuntimeError(
                    f"{error.name} is not installed (pip install {module.PACKAGE})"
                ) from None

        return open_run

    names = [name for name in ("wandb", "mlflow") if getattr(tracking, name)]
    runs = [Patient(name, opener(name), say=say) for name in names]
    try:
        yield runs
    finally:
        for run in runs:
            run.leave()
