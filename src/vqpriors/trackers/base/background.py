"""Experiment trackers, called from a background thread.

A tracker's module exports `open_run(info: RunInfo) -> TrackedRun`, and as `PACKAGE` the package to
install. Training goes on if a tracker is down, slow or not installed: there is one warning, and the
stage ends up to `FLUSH_SECONDS` later. The files in `metrics/` do not depend on trackers.
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
from vqpriors.core.registry import kind_names, load_kind

MAX_QUEUED = 10_000  # calls that may wait for a slow tracker; beyond that it is disabled
FLUSH_SECONDS = 15.0  # maximum wait for a tracker at the end of a stage


class TrackingConfig(Section):
    """`runtime.tracking` of params.yaml.

    Attributes:
        wandb: Whether Weights & Biases is on.
        mlflow: Whether MLflow is on.
        tensorboard: Whether TensorBoard is on.
        project: Name of the project in the tracker.
    """

    wandb: bool
    mlflow: bool
    tensorboard: bool
    project: str


@dataclass(frozen=True)
class RunInfo:
    """Names and params of a tracked run.

    Attributes:
        project: Name of the project.
        stage: Name of the stage.
        folder: Folder of the run, kept over interruptions; the tracker's run id is stored there.
        config: Params of the run, for the tracker's tables.
    """

    project: str
    stage: str
    folder: Path
    config: Mapping[str, Any]


class TrackedRun(Protocol):
    """A run in a tracker; it ignores points that it has from before an interruption."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name; `step` is the number of updates so far."""
        ...

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Add an image."""
        ...

    def close(self, summary: Mapping[str, float]) -> None:
        """Add final values and end the run."""
        ...


class BackgroundTracker:
    """Sends calls to a tracker from a background thread.

    If the tracker fails it is disabled, with one warning, and training goes on.
    """

    def __init__(
        self, name: str, open_run: Callable[[], TrackedRun], *, warn: Callable[[str], None]
    ):
        self.name, self._warn = name, warn
        self._queue: queue.Queue[Callable[[TrackedRun], None] | None] = queue.Queue(MAX_QUEUED)
        self._is_disabled = False
        self._thread = threading.Thread(target=self._work, args=(open_run,), daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Queue a point."""
        self._put(lambda run: run.log(step, values))

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Queue an image."""
        self._put(lambda run: run.log_image(step, name, image))

    def close(self, summary: Mapping[str, float]) -> None:
        """Queue final values and the end of the run."""
        self._put(lambda run: run.close(summary))

    def flush(self) -> None:
        """Wait at most `FLUSH_SECONDS` for the queued calls; an interrupted run stays open."""
        self._put(None)
        if not self._is_disabled:
            self._thread.join(FLUSH_SECONDS)
            if self._thread.is_alive():
                self._disable(f"still busy {FLUSH_SECONDS:.0f} s after training")

    def _put(self, call: Callable[[TrackedRun], None] | None) -> None:
        if self._is_disabled:
            return
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._disable(f"{MAX_QUEUED:,} points wait for it")

    def _work(self, open_run: Callable[[], TrackedRun]) -> None:
        try:
            run = open_run()
            while (call := self._queue.get()) is not None:
                call(run)
        except Exception as error:
            self._disable(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _disable(self, problem: str) -> None:
        if not self._is_disabled:
            self._is_disabled = True
            self._warn(f"runtime.tracking.{self.name}: {problem}; going on without it")


@contextmanager
def open_trackers(config: TrackingConfig, info: RunInfo) -> Iterator[list[BackgroundTracker]]:
    """Open a run in each tracker that is on; flush them at the end of the block."""

    def warn(text: str) -> None:
        print(f"warning: {info.stage}: {text}", file=sys.stderr)

    def opener(name: str) -> Callable[[], TrackedRun]:
        def open_run() -> TrackedRun:
            module = load_kind("vqpriors.trackers", name, param=f"runtime.tracking.{name}")
            try:
                return module.open_run(info)
            except ModuleNotFoundError as error:
                raise RuntimeError(
                    f"{error.name} is not installed (pip install {module.PACKAGE})"
                ) from None

        return open_run

    names = [name for name in kind_names("vqpriors.trackers") if getattr(config, name)]
    trackers = [BackgroundTracker(name, opener(name), warn=warn) for name in names]
    try:
        yield trackers
    finally:
        for tracker in trackers:
            tracker.flush()
