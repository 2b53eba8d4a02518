"""When a run saves checkpoints, and whether it resumes from one."""

import time
from pathlib import Path

import torch

from vqpriors.training import checkpoint as checkpoints
from vqpriors.training.config import RuntimeConfig
from vqpriors.training.interruption import Interruption, StoppedError
from vqpriors.training.run import Log, TrainingRun


class Checkpointer:
    """Saves a run's checkpoints in a folder as often as `runtime` asks, and resumes from them."""

    def __init__(self, run: TrainingRun, folder: Path, runtime: RuntimeConfig):
        self.run, self.folder, self.runtime = run, folder, runtime
        self.counted_at = self.saved_at = time.monotonic()
        self.saved_step = 0

    def resume(self, log: Log) -> None:
        """Continue from the newest undamaged checkpoint, if `runtime.resume` allows it.

        Raises:
            ValueError: If there is none although one is required, or if all are damaged.
        """
        accelerator = self.run.accelerator
        if self.runtime.resume == "never" and accelerator.is_main_process:
            checkpoints.clear(self.folder)
        accelerator.wait_for_everyone()
        found = checkpoints.load(self.folder)
        if found is None and self.runtime.resume == "required":
            raise ValueError(
                f"runtime.resume: required, but {self.folder} has no checkpoint (one of other "
                "params, data or code is not used); set it to auto to start over"
            )
        if found is not None:
            self.run.restore(found, log)
            self.saved_step = self.run.progress.step

    def save(self) -> None:
        """Save a checkpoint."""
        now, progress = time.monotonic(), self.run.progress
        progress.seconds, self.counted_at = progress.seconds + now - self.counted_at, now
        checkpoint = self.run.checkpoint()
        if self.run.accelerator.is_main_process:
            checkpoints.save(self.folder, checkpoint)
        self.saved_at, self.saved_step = time.monotonic(), progress.step

    def save_if_due(self) -> None:
        """Save a checkpoint if `checkpoint_seconds` or `checkpoint_steps` have passed."""
        is_due = time.monotonic() - self.saved_at >= self.runtime.checkpoint_seconds
        steps = self.runtime.checkpoint_steps
        if is_due or (steps and self.run.progress.step - self.saved_step >= steps):
            self.save()

    def stop_if_asked(self, interruption: Interruption) -> None:
        """Save and raise a StoppedError if any process received a signal."""
        accelerator = self.run.accelerator
        is_asked = torch.tensor(float(interruption.name is not None), device=accelerator.device)
        if not accelerator.reduce(is_asked, "sum"):
            return
        self.save()
        accelerator.wait_for_everyone()  # otherwise a launcher ends the process that still saves
        name = interruption.name or "another process"
        raise StoppedError(f"stopped by {name} at step {self.run.progress.step}")
