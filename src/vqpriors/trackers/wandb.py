"""Weights & Biases; WANDB_MODE=offline writes runs to `wandb/` or WANDB_DIR, for a later sync."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from vqpriors.trackers.base.background import RunInfo

PACKAGE = "wandb"


class WandbRun:
    """A run in Weights & Biases; resumed by its id, after its last point.

    The number of its points and the steps of its last images are stored beside the id, since an
    offline run can't ask a server.
    """

    def __init__(self, run: Any, id_file: Path):
        self.run, self.id_file = run, id_file
        self.state = json.loads(id_file.read_text())
        self.num_logged = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name, unless it was added before an interruption."""
        self.num_logged += 1
        if self.num_logged <= self.state["points"]:
            return
        self.run.log(dict(values), step=step)
        self.state["points"] = self.num_logged
        self.id_file.write_text(json.dumps(self.state))

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Add an image, unless it or a later one of its name was added before an interruption."""
        import wandb

        images = self.state.setdefault("images", {})
        if step <= images.get(name, -1):
            return
        self.run.log({name: wandb.Image(image)}, step=step)
        images[name] = step
        self.id_file.write_text(json.dumps(self.state))

    def close(self, summary: Mapping[str, float]) -> None:
        """Add final values to the summary and end the run."""
        self.run.summary.update(dict(summary))
        self.run.finish()


def open_run(info: RunInfo) -> WandbRun:
    """Open the run whose id is stored in the folder, or a new one."""
    import wandb

    id_file = info.folder / "wandb.json"
    if not id_file.is_file():
        id_file.write_text(json.dumps({"id": uuid.uuid4().hex[:12], "points": 0}))
    run = wandb.init(
        project=info.project,
        group=info.stage,
        id=json.loads(id_file.read_text())["id"],
        resume="allow",
        config=dict(info.config),
        settings=wandb.Settings(silent=True, init_timeout=10),
    )
    return WandbRun(run, id_file)
