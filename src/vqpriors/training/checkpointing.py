"""When a run saves checkpoints, and whether it resumes from one."""

import time
from pathlib import Path
from typing import Any

import torch

from vqpriors.training import checkpoint as checkpoints
from vqpriors.training.config import RuntimeConfig
from vqpriors.training.interruption import Interruption, StoppedError
from vqpriors.training.run import Log, TrainingRun

MAX_SHARE = 0.02  # of the time that checkpoints at intervals of seconds may take


class Checkpointer:
    """Saves a run's checkpoints in a folder as often as `runtime` asks, and resumes from them."""

    def __init__(self, run: TrainingRun, folder: Path, runtime: RuntimeConfig):
        self.run, self.folder, self.runtime = run, folder, runtime
        self.counted_at = self.saved_at = time.monotonic()
        self.saved_step, self.cost = 0, 0.0

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
        self.cost = self.saved_at - now

    def save_or_stop(self, interruption: Interruption) -> None:
        """Save a checkpoint if one is due; save one and stop if any process received a signal.

        Raises:
            StoppedError: After a signal.
        """
        accelerator = self.run.accelerator
        # The main process alone decides, since all have to take part in a checkpoint.
        is_due = accelerator.is_main_process and self._is_due()
        flags = torch.tensor([is_due, interruption.name is not None], dtype=torch.float32)
        total: Any = accelerator.reduce(flags.to(accelerator.device), "sum")
        num_due, num_asked = total.tolist()
        if num_due or num_asked:
            self.save()
        if not num_asked:
            return
        accelerator.wait_for_everyone()  # otherwise a launcher ends the process that still saves
        name = interruption.name or "another process"
        raise StoppedError(f"stopped by {name} at step {self.run.progress.step}")

    def _is_due(self) -> bool:
        steps, seconds = self.runtime.checkpoint_steps, self.runtime.checkpoint_seconds
        if steps and self.run.progress.step - self.saved_step >= steps:
            return True
        if seconds:
            seconds = max(seconds, self.cost / MAX_SHARE)
        return time.monotonic() - self.saved_at >= seconds
