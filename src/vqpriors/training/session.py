"""Where a training stage keeps what lets it resume, and where its curves go."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from vqpriors.core.hardware import best_device, peak_memory, processes
from vqpriors.core.params import Params, Seed, read_section
from vqpriors.core.phases import Phase
from vqpriors.core.runs import run_folder_of
from vqpriors.core.seeds import derived_seed
from vqpriors.trackers.base.background import Patient, Place, tracked
from vqpriors.training import launch
from vqpriors.training.config import RuntimeConfig, TrainConfig
from vqpriors.training.dvclive_logger import Curves
from vqpriors.training.interruption import EXIT_CODE, StoppedError
from vqpriors.training.loop import Trained, train
from vqpriors.training.run import Examples
from vqpriors.training.weights import Look


@dataclass
class Session:
    """One training stage at work.

    Attributes:
        seed: Of the run's order and randomness.
        folder: Its checkpoints.
        runtime: `runtime` of params.yaml.
        curves: What it logs; none where the run is over.
        trackers: What else is told of it.
        is_main: Whether this process writes results; one process of a launch does.
    """

    seed: int
    folder: Path
    runtime: RuntimeConfig
    curves: Curves | None
    trackers: list[Patient]
    is_main: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves, and the sheets that were drawn with it."""
        if self.curves is None:
            return
        for sink in (self.curves, *self.trackers):
            sink.log(step, values)
        if self.trackers and any(name.startswith("validation/") for name in values):
            for sheet in sorted(self.curves.folder.glob("*.png")):
                with Image.open(sheet) as picture:
                    picture.load()
                for tracker in self.trackers:
                    tracker.show(step, sheet.stem, picture)

    def report(self, trained: Trained, values: Mapping[str, float]) -> None:
        """Close the curves and write what the trained model is worth to metrics.json."""
        progress, device = trained.progress, best_device()
        trained_on = progress.step * progress.batch_size
        self.close(
            {
                **values,
                "train_minutes": round(progress.seconds / 60, 2),
                "examples_per_second": round(trained_on / max(progress.seconds, 1e-9), 1),
                "peak_memory_gb": round(peak_memory(device) / 1e9, 2),
            }
        )

    def close(self, summary: Mapping[str, float]) -> None:
        """Close the curves, if they are not closed, and write metrics.json."""
        curves, self.curves = self.curves, None
        if curves is not None:
            for sink in (curves, *self.trackers):
                sink.close(summary)


@dataclass(frozen=True)
class Job:
    """What a training stage trains, and on what.

    Attributes:
        model: On the CPU, not trained yet.
        phases: The curriculum.
        config: How to train.
        training: Examples to learn from.
        validation: Examples that choose the best state.
        description: What builds the model again, for `save_model`.
        look: Looks at the averaged weights after each epoch.
    """

    model: nn.Module
    phases: Mapping[str, Phase]
    config: TrainConfig
    training: Examples
    validation: Examples
    description: dict[str, Any]
    look: Look | None = None

    def run(self, work: "Session") -> Trained:
        """Train, from where the session's checkpoints stand."""
        return train(
            self.model,
            phases=self.phases,
            config=self.config,
            runtime=work.runtime,
            training=self.training,
            validation=self.validation,
            seed=work.seed,
            folder=work.folder,
            log=work.log,
            look=self.look,
        )


@contextmanager
def session(stage: str, params: Params) -> Iterator[Session]:
    """Set up a training stage; on success close its curves and remove its checkpoints.

    Checkpoints lie under DVC's root in a folder named after all that the run depends on, so that
    another run's are never taken up, and outside DVC's outputs, so that DVC does not delete them.
    They stay where the DVC that started the stage is gone, since nobody will take its results:
    the next run takes them up at their end. If the block fails, the metrics of the run before are
    put back, and the curves so far lie with the checkpoints.

    Args:
        stage: The stage's name in dvc.yaml.
        params: Its params.

    Raises:
        ValueError: If another process runs the same stage.
        SystemExit: With `EXIT_CODE` after one line, if the run was asked to stop.
    """
    try:
        with _session(stage, params) as work:
            yield work
    except StoppedError as stop:
        if processes().is_main_process:
            print(f"error: {stage}: {stop}; run it again to go on", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


@contextmanager
def _session(stage: str, params: Params) -> Iterator[Session]:
    launch.requested(os.environ)  # at once, before a launch that is refused reads anything
    launch.load_whole()
    seed = seed_stage(stage, params)
    is_main = processes().is_main_process
    runtime = read_section("runtime", RuntimeConfig)
    with run_folder_of(stage, params) as folder:
        if not is_main:
            yield Session(seed, folder, runtime, None, [], is_main)
            return
        metrics = Path("metrics") / stage
        tracking = runtime.tracking
        place = Place(tracking.project, stage, folder, params.values)
        with _put_back_on_error(metrics, aside=folder), tracked(tracking, place) as trackers:
            work = Session(seed, folder, runtime, Curves(metrics), trackers, is_main)
            yield work
            work.close({})


def seed_stage(stage: str, params: Params) -> int:
    """Set the random state that a stage's model starts from; return the seed in params.yaml."""
    seed = params.value("seed", Seed)
    torch.manual_seed(derived_seed(seed, stage))
    return seed


@contextmanager
def _put_back_on_error(path: Path, *, aside: Path) -> Iterator[None]:
    before, failed = aside / "metrics_before", aside / "metrics"
    shutil.rmtree(before, ignore_errors=True)
    if path.exists():
        shutil.move(path, before)
    try:
        yield
    except BaseException:
        if any(file.is_file() for file in path.rglob("*")):
            shutil.rmtree(failed, ignore_errors=True)
            shutil.move(path, failed)
        else:
            shutil.rmtree(path, ignore_errors=True)
        if before.exists():
            shutil.move(before, path)
        raise
