"""Curves of a training run as DVCLive files, which DVC shows as metrics and plots."""

from collections.abc import Mapping
from pathlib import Path

from dvclive import Live  # pyright: ignore[reportPrivateImportUsage]


class DVCLiveLogger:
    """A logger to `folder`: a TSV for each name, a summary in metrics.json."""

    def __init__(self, folder: Path):
        self.folder = folder
        # DVCLive by default rewrites dvc.yaml and saves an experiment during a run.
        self._live = Live(str(folder), save_dvc_exp=False, dvcyaml=None, monitor_system=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name."""
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)

    def close(self, summary: Mapping[str, float]) -> None:
        """Write `summary` and the last step to metrics.json.

        Not the last points of the curves, as DVCLive would: `dvc exp show` lists all of
        metrics.json, and the weights that are kept may be those of an earlier step.
        """
        self._live.summary.clear()
        for name, value in summary.items():
            self._live.log_metric(name, value, plot=False)
        self._live.make_summary()
        self._live.end()
