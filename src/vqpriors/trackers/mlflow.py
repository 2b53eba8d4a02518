"""MLflow, at MLFLOW_TRACKING_URI: an experiment for each stage, a run for each training run."""

import os
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from PIL.Image import Image

from vqpriors.trackers.base.background import RunInfo

PACKAGE = "mlflow-skinny"
TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
MAX_METRICS = 900  # per request; the server accepts 1,000
MAX_PARAM_LENGTH = 500  # characters


class MLflowRun:
    """A run in MLflow; resumed by its id, which is stored in the run's folder."""

    def __init__(self, client: Any, run_id: str, *, is_new: bool):
        self.client, self.run_id, self.is_new = client, run_id, is_new
        self.last_steps: dict[str, int] = {}
        self.last_images: dict[str, int] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name, unless the curve has it already."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: value for name, value in values.items() if step > self._last(name)}
        metrics = [Metric(name, value, now, step) for name, value in new.items()]
        for start in range(0, len(metrics), MAX_METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + MAX_METRICS])
        self.last_steps.update(dict.fromkeys(new, step))

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Add an image as an artifact, unless the run has it or a later one of its name already.

        A resumed run logs its old points again, at which only the newest figure is left.
        """
        if step > self._last_image(name):
            self.client.log_image(self.run_id, image, artifact_file=f"{name}/{step:09d}.png")
            self.last_images[name] = step

    def close(self, summary: Mapping[str, float]) -> None:
        """Add final values as metrics and end the run."""
        for name, value in summary.items():
            self.client.log_metric(self.run_id, name, value)
        self.client.set_terminated(self.run_id)

    def _last(self, name: str) -> int:
        if name not in self.last_steps and self.is_new:
            return -1
        if name not in self.last_steps:
            points = self.client.get_metric_history(self.run_id, name)
            self.last_steps[name] = max((point.step for point in points), default=-1)
        return self.last_steps[name]

    def _last_image(self, name: str) -> int:
        if name not in self.last_images:
            files = [] if self.is_new else self.client.list_artifacts(self.run_id, name)
            steps = (int(PurePosixPath(file.path).stem) for file in files)
            self.last_images[name] = max(steps, default=-1)
        return self.last_images[name]


def open_run(info: RunInfo) -> MLflowRun:
    """Open the run whose id is stored in the folder, or a new one."""
    for name, value in TIMEOUTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client = MlflowClient()
    id_file = info.folder / "mlflow"
    if id_file.is_file():
        return MLflowRun(client, id_file.read_text(), is_new=False)
    experiment = f"{info.project}/{info.stage}"
    found = client.get_experiment_by_name(experiment)
    experiment_id = client.create_experiment(experiment) if found is None else found.experiment_id
    run_id = client.create_run(experiment_id).info.run_id
    params = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in flatten(info.config)]
    client.log_batch(run_id, params=params)
    id_file.write_text(run_id)
    return MLflowRun(client, run_id, is_new=True)


def flatten(values: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Return nested values as pairs of a dotted key and a value."""
    pairs = []
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        pairs += flatten(value, key) if isinstance(value, Mapping) and value else [(key, value)]
    return pairs
