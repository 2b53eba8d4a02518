"""Measured runs: experiments of DVC, the working tree and reference runs, in one form."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from tools import reference

ROOT = Path(__file__).resolve().parents[1]
PARAMS = "params.yaml"
STAGES = ("train_prior", "sample", "evaluate")

# Metrics of a run beyond those of metrics/reference/leaderboard.csv, and the stage of each.
FURTHER = {
    "judge": "evaluate",
    "nats_bound_se": "evaluate",
    "recall": "evaluate",
    "recall_se": "evaluate",
    "recall_real": "evaluate",
    "adherence_real": "evaluate",
    "r_precision": "evaluate",
    "r_precision_se": "evaluate",
    "r_precision_real": "evaluate",
    "kernel_distance": "evaluate",
    "kernel_distance_se": "evaluate",
    "kernel_distance_real": "evaluate",
}
MEASURED = {name: stage for name, (stage, _) in reference.MEASURED.items()} | FURTHER

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run with its metrics.

    Args:
        name: Name of the experiment, branch or kept run.
        source: "experiment", "commit", "workspace" or "reference".
        data: Data set.
        split: Split whose pictures are compared; "" if not recorded.
        prior: Kind of prior.
        text: Text encoder.
        metrics: Those of `MEASURED` that the run has; {} if it has not been evaluated.
    """

    name: str
    source: str
    data: str
    split: str
    prior: str
    text: str
    metrics: Metrics


@dataclass
class Found:
    """Runs with metrics, and the number of those without."""

    runs: list[Run]
    num_without_metrics: int = 0


def find_runs(*, experiments: bool = True, all_commits: bool = False) -> Found:
    """Return the experiments, the commits they start from, the working tree and the reference runs.

    A run that is no experiment is left out if it has the metrics of one before it.

    Args:
        experiments: Whether to include experiments and commits.
        all_commits: Whether to include those of other commits than the current one.

    Raises:
        DvcException: If DVC can't read the repository.
    """
    states = list(_states(all_commits)) if experiments else []
    states.sort(key=lambda state: state[0] != "experiment")
    runs = [_of_dvc(*state) for state in states]
    runs += [_workspace(), *_kept(reference.REFERENCE)]
    found = Found([])
    for run in runs:
        if not run.metrics:
            found.num_without_metrics += run.source == "experiment"
        elif run.source == "experiment" or run.metrics not in [own.metrics for own in found.runs]:
            found.runs.append(run)
    return found


def _states(all_commits: bool) -> Iterator[tuple[str, str, Any]]:
    """Yield source, name and data (None if unreadable) of commits and their experiments."""
    with Repo(str(ROOT)) as repo:
        commits = list(repo.experiments.ls(all_commits=True)) if all_commits else []
        revisions = ["HEAD", *commits]
        for commit in repo.experiments.show(revs=revisions, hide_workspace=True):
            yield "commit", commit.name or commit.rev[:7], commit.data
            for started in commit.experiments or []:
                last = started.revs[0]
                yield "experiment", last.name or last.rev[:7], last.data


def _of_dvc(source: str, name: str, data: Any) -> Run:
    """Return a run of DVC; its metrics are {} if it has none that can be read."""
    files = {**data.params, **data.metrics} if data else {}
    read = {Path(path).as_posix(): file.get("data") or {} for path, file in files.items()}
    return _run(source, name, read)


def _workspace() -> Run:
    paths = [ROOT / _metrics_file(stage) for stage in STAGES]
    read = {path.relative_to(ROOT).as_posix(): _read(path) for path in paths if path.is_file()}
    return _run("workspace", "workspace", {**read, PARAMS: _params_of_metrics()})


def _params_of_metrics() -> Any:
    """Return the params that the stages last ran with; those of params.yaml if that is unknown."""
    params = _read(ROOT / PARAMS) or {}
    lock = ROOT / "dvc.lock"
    stages = (_read(lock) or {}).get("stages", {}) if lock.is_file() else {}
    for stage in stages.values():
        for key, value in stage.get("params", {}).get(PARAMS, {}).items():
            section, _, name = key.rpartition(".")
            if "." not in section and section in params:
                params[section] = {**params[section], name: value}
    return params


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())  # which reads JSON, too
    except yaml.YAMLError as error:
        raise ValueError(f"{path.relative_to(ROOT)}: not YAML ({error})") from None


def _run(source: str, name: str, read: Mapping[str, Any]) -> Run:
    """Return a run from its params and metrics, by file."""
    params = read.get(PARAMS, {})
    metrics = _measured({stage: read.get(_metrics_file(stage), {}) for stage in STAGES})
    return Run(
        name=name,
        source=source,
        data=_param(params, "data", "name"),
        split=_param(params, "evaluate", "split"),
        prior=_param(params, "prior", "arch"),
        text=_param(params, "text", "encoder"),
        metrics=metrics,
    )


def _param(params: Mapping[str, Any], section: str, name: str) -> str:
    return str((params.get(section) or {}).get(name, ""))


def _kept(folder: Path) -> list[Run]:
    """Return the runs of metrics/reference."""
    return [_of_folder(path.parent) for path in sorted(folder.glob(f"*/*/{reference.RUN}"))]


def _of_folder(folder: Path) -> Run:
    own = json.loads((folder / reference.RUN).read_text())
    read = {stage: json.loads((folder / stage / "metrics.json").read_text()) for stage in STAGES}
    return Run(
        name="reference",
        source="reference",
        data=folder.parent.name,
        split=own.get("split", ""),
        prior=folder.name,
        text=own.get("text", ""),
        metrics=_measured(read),
    )


def _measured(read: Mapping[str, Metrics]) -> Metrics:
    """Return the metrics of an evaluated run from those of its stages; {} if there are none."""
    if not read["evaluate"]:
        return {}
    return {name: read[stage][name] for name, stage in MEASURED.items() if name in read[stage]}


def _metrics_file(stage: str) -> str:
    return f"metrics/{stage}/metrics.json"
