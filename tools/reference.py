"""Kept runs, and metrics/reference/leaderboard.csv with a row for each of them."""

import json
import math
from pathlib import Path
from typing import Any

from tools.csv_rows import write_rows

REFERENCE = Path(__file__).resolve().parents[1] / "metrics" / "reference"
LEADERBOARD = REFERENCE / "leaderboard.csv"
RUN = "run.json"  # commit, hardware, text encoder and evaluated split of a run

# Column, stage that measures it, and decimals.
MEASURED = {
    "parameters": ("train_prior", 0),
    "psnr": ("evaluate", 2),
    "codebook_usage": ("evaluate", 4),
    "nats_per_token": ("evaluate", 4),
    "nats_per_token_se": ("evaluate", 4),
    "judge_accuracy": ("evaluate", 4),
    "adherence": ("evaluate", 4),
    "adherence_se": ("evaluate", 4),
    "conformity": ("evaluate", 4),
    "conformity_se": ("evaluate", 4),
    "conformity_real": ("evaluate", 4),
    "conformity_worst": ("evaluate", 4),
    "coverage": ("evaluate", 4),
    "coverage_se": ("evaluate", 4),
    "coverage_real": ("evaluate", 4),
    "frechet_distance": ("evaluate", 3),
    "frechet_distance_se": ("evaluate", 3),
    "frechet_distance_real": ("evaluate", 3),
    "num_compared": ("evaluate", 0),
    "images_per_second": ("sample", 1),
    "train_minutes": ("train_prior", 1),
    "peak_memory_gb": ("train_prior", 2),
}
COLUMNS = ["data", "prior", "text", *MEASURED, "judge", "hardware", "commit"]

Row = dict[str, str]


def write() -> None:
    """Write the rows of all reference runs to the leaderboard's file."""
    found = rows(REFERENCE)
    write_rows(LEADERBOARD, found, COLUMNS)
    print(f"{LEADERBOARD.relative_to(REFERENCE.parents[1])}: {len(found)} rows")


def rows(reference: Path) -> list[Row]:
    """Return the rows, sorted by data set and Frechet distance; metrics may be missing."""
    folders = sorted(path.parent for path in reference.glob(f"*/*/{RUN}"))
    return sorted(map(_row, folders), key=lambda row: (row["data"], _distance(row)))


def _row(folder: Path) -> Row:
    stages = {stage for stage, _ in MEASURED.values()}
    metrics = {stage: _read(folder / stage / "metrics.json") for stage in stages}
    found = {
        column: f"{metrics[stage][column]:.{decimals}f}"
        for column, (stage, decimals) in MEASURED.items()
        if column in metrics[stage]
    }
    if "judge" in metrics["evaluate"]:  # distances compare only between runs of one judge
        found["judge"] = metrics["evaluate"]["judge"]
    found = {"data": folder.parent.name, "prior": folder.name, **found, **_read(folder / RUN)}
    return {column: value for column, value in found.items() if column in COLUMNS}


def _distance(row: Row) -> float:
    return float(row.get("frechet_distance", math.inf))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
