"""Weights & Biases; WANDB_MODE=offline keeps runs in `wandb/` or WANDB_DIR, to be synced later."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from vqpriors.trackers.base.background import Place

PACKAGE = "wandb"


class WandbRun:
    """A run; taken up again by its id, from the first point that it does not have yet.

    How many points it has lies beside the id, since an offline run has no server to ask.
    """

    def __init__(self, run: Any, kept: Path):
        self.run, self.kept = run, kept
        self.state = json.loads(kept.read_text())
        self.seen = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name, unless it was added before an interruption."""
        self.seen += 1
        if self.seen <= self.state["points"]:
            return
        self.run.log(dict(values), step=step)
        self.state["points"] = self.seen
        self.kept.write_text(json.dumps(self.state))

    def show(self, step: int, name: str, picture: Image) -> None:
        """Add a picture."""
        import wandb

        self.run.log({name: wandb.Image(picture)}, step=step)

    def close(self, summary: Mapping[str, float]) -> None:
        """Add last values to the summary and end the run."""
        self.run.summary.update(dict(summary))
        self.run.finish()


def open_run(place: Place) -> WandbRun:
    """Open the run whose id lies in the folder, or a new one."""
    import wandb

    kept = place.folder / "wandb.json"
    if not kept.is_file():
        kept.write_text(json.dumps({"id": uuid.uuid4().hex[:12], "points": 0}))
    run = wandb.init(
        project=place.project,
        group=place.stage,
        id=json.loads(kept.read_text())["id"],
        resume="allow",
        config=dict(place.config),
        settings=wandb.Settings(silent=True, init_timeout=10),
    )
    return WandbRun(run, kept)
