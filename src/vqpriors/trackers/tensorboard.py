"""TensorBoard: event files below `tensorboard/`, or below the folder TENSORBOARD_LOGDIR."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from vqpriors.trackers.base.background import RunInfo
from vqpriors.trackers.base.logged import Logged

PACKAGE = "tensorboard"


class TensorBoardRun:
    """A folder of event files; a resumed run adds a file to it."""

    def __init__(self, writer: Any, logged: Logged):
        self.writer, self.logged = writer, logged

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name, unless it was added before an interruption."""
        if not self.logged.is_new_point():
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        self.logged.add_point()

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Add an image, unless it or a later one of its name was added before an interruption."""
        if not self.logged.is_new_image(step, name):
            return
        self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        self.writer.flush()
        self.logged.add_image(step, name)

    def close(self, summary: Mapping[str, float]) -> None:
        """Add final values as points at step 0 and close the file."""
        for name, value in summary.items():
            self.writer.add_scalar(f"summary/{name}", value, 0)
        self.writer.close()


def open_run(info: RunInfo) -> TensorBoardRun:
    """Open the run whose name is stored in the folder, or a new one."""
    from torch.utils.tensorboard import SummaryWriter

    logged = Logged(info.folder / "tensorboard.json", run_id=time.strftime("%Y%m%d-%H%M%S"))
    parent = Path(os.environ.get("TENSORBOARD_LOGDIR", "tensorboard"))
    writer = SummaryWriter(str(parent / info.project / info.stage / logged.run_id))
    writer.add_text("params", f"```json\n{json.dumps(info.config, indent=2, default=str)}\n```")
    return TensorBoardRun(writer, logged)
