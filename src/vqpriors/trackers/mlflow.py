"""MLflow, at MLFLOW_TRACKING_URI: an experiment a stage, a run each of ours."""

import os
import time
from collections.abc import Mapping
from typing import Any

from PIL.Image import Image

from vqpriors.trackers.base.background import Place

PACKAGE = "mlflow-skinny"
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
MOST = 900  # metrics in a request: the server takes 1,000
LONGEST = 500  # characters of a param


class MLflowRun:
    """A run; taken up again by its id, which lies in the run's folder."""

    def __init__(self, client: Any, run_id: str, *, is_new: bool):
        self.client, self.run_id, self.is_new = client, run_id, is_new
        self.known: dict[str, int] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name that does not have it yet."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: value for name, value in values.items() if step > self._last(name)}
        metrics = [Metric(name, value, now, step) for name, value in new.items()]
        for start in range(0, len(metrics), MOST):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + MOST])
        self.known.update(dict.fromkeys(new, step))

    def show(self, step: int, name: str, picture: Image) -> None:
        """Add a picture as an artifact."""
        self.client.log_image(self.run_id, picture, artifact_file=f"{name}/{step:09d}.png")

    def close(self, summary: Mapping[str, float]) -> None:
        """Add last values as metrics and end the run."""
        for name, value in summary.items():
            self.client.log_metric(self.run_id, name, value)
        self.client.set_terminated(self.run_id)

    def _last(self, name: str) -> int:
        if name not in self.known and self.is_new:
            return -1
        if name not in self.known:
            points = self.client.get_metric_history(self.run_id, name)
            self.known[name] = max((point.step for point in points), default=-1)
        return self.known[name]


def open_run(place: Place) -> MLflowRun:
    """Open the run that lies in the folder, or a new one."""
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client = MlflowClient()
    kept = place.folder / "mlflow"
    if kept.is_file():
        return MLflowRun(client, kept.read_text(), is_new=False)
    experiment = f"{place.project}/{place.stage}"
    found = client.get_experiment_by_name(experiment)
    experiment_id = client.create_experiment(experiment) if found is None else found.experiment_id
    run_id = client.create_run(experiment_id).info.run_id
    params = [Param(key, str(value)[:LONGEST]) for key, value in flat(place.config)]
    client.log_batch(run_id, params=params)
    kept.write_text(run_id)
    return MLflowRun(client, run_id, is_new=True)


def flat(values: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Return nested values as pairs of a dotted key and a value."""
    pairs = []
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        pairs += flat(value, key) if isinstance(value, Mapping) and value else [(key, value)]
    return pairs
