"""What a run logs, as DVCLive files that DVC shows as metrics and plots."""

from collections.abc import Mapping
from pathlib import Path

from dvclive import Live  # pyright: ignore[reportPrivateImportUsage]


class Curves:
    """Curves in `folder`: a TSV for each name, the newest values in metrics.json."""

    def __init__(self, folder: Path):
        self.folder = folder
        # DVCLive by default rewrites dvc.yaml and saves an experiment in mid-run.
        self._live = Live(str(folder), save_dvc_exp=False, dvcyaml=None, monitor_system=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each name."""
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)

    def close(self, summary: Mapping[str, float]) -> None:
        """Write metrics.json with the last points and further values."""
        for name, value in summary.items():
            self._live.log_metric(name, value, plot=False)
        self._live.make_summary()
        self._live.end()
