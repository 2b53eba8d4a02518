"""A training session: the run folder, the curves and the trackers of a training stage."""

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
from vqpriors.trackers.base.background import BackgroundTracker, RunInfo, open_trackers
from vqpriors.training import launch
from vqpriors.training.checkpoint import Progress
from vqpriors.training.config import RuntimeConfig, TrainConfig
from vqpriors.training.dvclive_logger import DVCLiveLogger
from vqpriors.training.examples import Examples
from vqpriors.training.interruption import EXIT_CODE, StoppedError
from vqpriors.training.loop import Trained, train
from vqpriors.training.weights import EpochCallback


@dataclass
class Session:
    """The surroundings of one training run.

    Attributes:
        seed: Seed of order and randomness.
        folder: Folder of the checkpoints.
        runtime: `runtime` of params.yaml.
        logger: Writes the curves; None in processes that write nothing, and once it is closed.
        trackers: Trackers beside it.
        is_main: Whether this is the main process, which writes the results.
    """

    seed: int
    folder: Path
    runtime: RuntimeConfig
    logger: DVCLiveLogger | None
    trackers: list[BackgroundTracker]
    is_main: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves; after a validation, send the stage's figures to trackers."""
        if self.logger is None:
            return
        for sink in (self.logger, *self.trackers):
            sink.log(step, values)
        if self.trackers and any(name.startswith("validation/") for name in values):
            for figure in sorted(self.logger.folder.glob("*.png")):
                with Image.open(figure) as image:
                    image.load()
                for tracker in self.trackers:
                    tracker.log_image(step, figure.stem, image)

    def report(self, trained: Trained, values: Mapping[str, float]) -> None:
        """Close the curves and write final metrics, time and memory to metrics.json."""
        minutes = round(trained.progress.seconds / 60, 2)
        memory = round(peak_memory(best_device()) / 1e9, 2)
        self.close({**values, "train_minutes": minutes, "peak_memory_gb": memory})

    def close(self, summary: Mapping[str, float]) -> None:
        """Close the curves, unless they are closed, and write metrics.json."""
        logger, self.logger = self.logger, None
        if logger is not None:
            for sink in (logger, *self.trackers):
                sink.close(summary)


@dataclass(frozen=True)
class TrainingTask:
    """A model and what it is trained on.

    Attributes:
        model: The untrained model, on the CPU.
        phases: The phases by name, in order.
        config: The training params.
        training: Examples to train on.
        validation: Examples that choose the best state.
        description: JSON values from which the model is built again, for `save_model`.
        callback: Called with the averaged model after epochs.
        callback_epochs: Epochs from one call to the next.
    """

    model: nn.Module
    phases: Mapping[str, Phase]
    config: TrainConfig
    training: Examples
    validation: Examples
    description: dict[str, Any]
    callback: EpochCallback | None = None
    callback_epochs: int = 1

    def run(self, session: Session) -> Trained:
        """Train the model, from the session's newest checkpoint; without phases, not at all."""
        if not self.phases:
            state = self.model.state_dict()
            return Trained(best=state, last=state, progress=Progress())
        return train(
            self.model,
            phases=self.phases,
            config=self.config,
            runtime=session.runtime,
            training=self.training,
            validation=self.validation,
            seed=session.seed,
            folder=session.folder,
            log=session.log,
            callback=self.callback,
            callback_epochs=self.callback_epochs,
        )


@contextmanager
def open_session(stage: str, params: Params) -> Iterator[Session]:
    """Set up a training stage; on success close its curves and remove its checkpoints.

    Checkpoints lie under DVC's root in a folder named after everything that the run depends on, so
    that no other run resumes from them, and outside DVC's outputs, so that DVC does not delete
    them. They stay if the DVC process that started the stage has ended, since it will not collect
    the results: the next run then resumes at their end. If the block fails, the metrics of the
    previous run are put back, and the curves of this one are moved to the checkpoints.

    Args:
        stage: The stage's name in dvc.yaml.
        params: Its params.

    Raises:
        ValueError: If another process runs the same stage.
        SystemExit: With `EXIT_CODE` after one line, if a signal stopped the run.
    """
    try:
        with _open_session(stage, params) as session:
            yield session
    except StoppedError as stop:
        if processes().is_main_process:
            print(f"error: {stage}: {stop}; run it again to go on", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


@contextmanager
def _open_session(stage: str, params: Params) -> Iterator[Session]:
    launch.fsdp_settings_from_env(os.environ)  # refuses an unsupported launch before any work
    launch.disable_ram_efficient_loading()
    seed = seed_stage(stage, params)
    is_main = processes().is_main_process
    runtime = read_section("runtime", RuntimeConfig)
    with run_folder_of(stage, params) as folder:
        if not is_main:
            yield Session(seed, folder, runtime, None, [], is_main)
            return
        metrics = Path("metrics") / stage
        info = RunInfo(runtime.tracking.project, stage, folder, params.values)
        with (
            _put_back_on_error(metrics, aside=folder),
            open_trackers(runtime.tracking, info) as trackers,
        ):
            session = Session(seed, folder, runtime, DVCLiveLogger(metrics), trackers, is_main)
            yield session
            session.close({})


def seed_stage(stage: str, params: Params) -> int:
    """Set the random state that a stage's model is initialised from; return `seed`."""
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
