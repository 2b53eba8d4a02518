"""Where a training stage keeps what lets it resume, and where its curves go."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from vqpriors.hardware import best_device, peak_memory, processes
from vqpriors.params import Params, Seed
from vqpriors.phases import Phase
from vqpriors.seeds import derived_seed
from vqpriors.training.checkpoint import run_folder
from vqpriors.training.interruption import EXIT_CODE, StoppedError
from vqpriors.training.loop import Trained, train
from vqpriors.training.optimisation import TrainConfig
from vqpriors.training.run import Examples, Look
from vqpriors.training.tracking import Curves

# Params of training that say when it is saved and taken up, not what it makes.
IDLE = ("checkpoint_steps", "checkpoint_seconds", "resume")


@dataclass
class Session:
    """One training stage at work.

    Attributes:
        seed: Of the run's order and randomness.
        folder: Its checkpoints.
        curves: What it logs.
        is_main: Whether this process writes results; one process of a launch does.
    """

    seed: int
    folder: Path
    curves: Curves | None
    is_main: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves."""
        if self.curves is not None:
            self.curves.log(step, values)

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
            curves.close(summary)


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
        print(f"error: {stage}: {stop}; run it again to go on", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


@contextmanager
def _session(stage: str, params: Params) -> Iterator[Session]:
    seed = seed_stage(stage, params)
    is_main = processes().is_main_process
    root = Path(os.environ.get("DVC_ROOT", "."))
    path = root / ".runs" / stage / _fingerprint(stage, params)
    if not is_main:
        yield Session(seed, path, None, is_main)
        return
    metrics, dvc = Path("metrics") / stage, _dvc_process()
    try:
        with (
            run_folder(path, keep=lambda: _dvc_process() != dvc) as folder,
            _put_back_on_error(metrics, aside=folder),
        ):
            work = Session(seed, folder, Curves(metrics), is_main)
            yield work
            work.close({})
    finally:
        for empty in (path, *path.parents[:2]):
            with suppress(OSError):
                empty.rmdir()


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


def _dvc_process() -> tuple[int, float] | None:
    """Identify the DVC that waits for this stage; None where there is none, or no longer."""
    for ancestor in psutil.Process().parents():
        with suppress(psutil.Error):
            if "dvc" in (Path(part).name for part in ancestor.cmdline()[:3]):
                return ancestor.pid, ancestor.create_time()
    return None


def _deciding(values: Any) -> Any:
    """Return params without those that do not change what a run ends with."""
    if not isinstance(values, dict):
        return values
    return {name: _deciding(value) for name, value in values.items() if name not in IDLE}


def _fingerprint(stage: str, params: Params) -> str:
    """Hash the stage's params, the contents of what it depends on, and the torch that runs it."""
    from dvc.repo import Repo  # here, because it is slow to import and stages can be imported alone

    with Repo() as repo:
        found = repo.stage.load_one(name=os.environ.get("DVC_STAGE", stage))  # pyright: ignore
        contents = {
            dep.def_path: dep.get_hash().value
            for dep in found.deps
            if dep.protocol == "local" and dep.def_path != "params.yaml"
        }
    parts = {"params": _deciding(params.values), "deps": contents, "torch": torch.__version__}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
