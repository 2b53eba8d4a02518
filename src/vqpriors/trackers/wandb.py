"""Weights & Biases; WANDB_MODE=offline writes runs to `wandb/` or WANDB_DIR, for a later sync."""

import uuid
from collections.abc import Mapping
from typing import Any

from PIL.Image import Image

from vqpriors.trackers.base.background import RunInfo
from vqpriors.trackers.base.logged import Logged

PACKAGE = "wandb"


class WandbRun:
    """A run in Weights & Biases; resumed by its id, after its last point.

    What it has logged is stored beside the id, since an offline run can't ask a server.
    """

    def __init__(self, run: Any, logged: Logged):
        self.run, self.logged = run, logged

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name, unless it was added before an interruption."""
        if self.logged.is_new_point():
            self.run.log(dict(values), step=step)
            self.logged.add_point()

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Add an image, unless it or a later one of its name was added before an interruption."""
        import wandb

        if self.logged.is_new_image(step, name):
            self.run.log({name: wandb.Image(image)}, step=step)
            self.logged.add_image(step, name)

    def close(self, summary: Mapping[str, float]) -> None:
        """Add final values to the summary and end the run."""
        self.run.summary.update(dict(summary))
        self.run.finish()


def open_run(info: RunInfo) -> WandbRun:
    """Open the run whose id is stored in the folder, or a new one."""
    import wandb

    logged = Logged(info.folder / "wandb.json", run_id=uuid.uuid4().hex[:12])
    run = wandb.init(
        project=info.project,
        group=info.stage,
        id=logged.run_id,
        resume="allow",
        config=dict(info.config),
        settings=wandb.Settings(silent=True, init_timeout=10),
    )
    return WandbRun(run, logged)
