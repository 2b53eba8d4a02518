"""Print measured runs, ranked: the experiments, the working tree and those of metrics/reference.

Each table holds the comparable runs of one data set: runs measured by the same judge, on the same
split and the same number of pictures.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dvc.exceptions import DvcException

from tools import tables
from tools.ranking import RANKED, SORTED, rank, sort_value
from tools.runs import MEASURED, Found, Run, find_runs
from vqpriors.core.artifact import new_file

DESCRIPTION = ("data", "split", "rank", "name", "source", "prior", "text")
COLUMNS = [*DESCRIPTION, *MEASURED]
CSV_HEAD = ",".join(COLUMNS)
JSON_HEAD = '{\n  "leaderboard": ['

Ranked = list[tuple[Run, str]]


def main() -> None:
    """Print the leaderboard, or write it to a file."""
    parser = argparse.ArgumentParser(
        "python -m tools.leaderboard", description=(__doc__ or "").partition("\n")[0]
    )
    add, metrics = parser.add_argument, [*RANKED, *SORTED]
    add("--format", choices=FORMATS, default="table", help="csv, json: all metrics, all digits")
    add("--out", type=Path, help="file to write (default: print)")
    add(
        "--sort",
        choices=metrics,
        default="frechet_distance",
        metavar="METRIC",
        help=f"metric to rank by: {', '.join(metrics)} (default: %(default)s)",
    )
    add("--all-commits", action="store_true", help="also experiments of other commits")
    add(
        "--no-experiments",
        action="store_true",
        help="only the working tree and the reference runs (metrics/reference)",
    )
    options = parser.parse_args()
    try:
        if options.out:
            _require_replaceable(options.out)
        found = find_runs(experiments=not options.no_experiments, all_commits=options.all_commits)
    except (DvcException, OSError, ValueError) as error:
        sys.exit(f"error: leaderboard: {' '.join(str(error).split())}")
    text = FORMATS[options.format](found, options.sort)
    if not options.out:
        print(text, end="")
        return
    with new_file(options.out) as file:
        file.write_text(text, encoding="utf-8")
    print(f"{options.out}: {len(found.runs)} runs")


def _require_replaceable(path: Path) -> None:
    """Refuse a path that has another file than a leaderboard."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; choose another --out")
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text.startswith((tables.TITLE, f"{CSV_HEAD}\n", JSON_HEAD)):
            raise ValueError(
                f"{path}: is there already and is no leaderboard; choose another --out"
            )


def groups(runs: Sequence[Run], sort: str) -> list[Ranked]:
    """Return the runs that compare, of each data set, sorted and with ranks.

    Groups with a judge come first within their data set.
    """
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(_group(run), []).append(run)
    return [_ranked(found[key], sort) for key in sorted(found)]


def _group(run: Run) -> tuple[str, ...]:
    judge, count = (str(run.metrics.get(name, "")) for name in ("judge", "num_compared"))
    return run.data, str(not judge), run.split, judge, count


def _ranked(runs: list[Run], sort: str) -> Ranked:
    runs = sorted(runs, key=lambda run: sort_value(run.metrics, sort))
    metrics = [run.metrics for run in runs]
    return [(run, rank(run.metrics, metrics, sort)) for run in runs]


def as_table(found: Found, sort: str) -> str:
    """Return tables of at most 120 columns."""
    return tables.page(groups(found.runs, sort), sort, found.num_without_metrics)


def as_csv(found: Found, sort: str) -> str:
    """Return a row for each run, with all metrics."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(found, sort))
    return file.getvalue()


def as_json(found: Found, sort: str) -> str:
    """Return an object for each run, with all metrics."""
    return json.dumps({"leaderboard": _rows(found, sort)}, indent=2) + "\n"


def _rows(found: Found, sort: str) -> list[dict[str, object]]:
    ranked = [pair for group in groups(found.runs, sort) for pair in group]
    return [
        {name: place if name == "rank" else getattr(run, name) for name in DESCRIPTION}
        | dict(run.metrics)
        for run, place in ranked
    ]


FORMATS: dict[str, Callable[[Found, str], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}


if __name__ == "__main__":
    main()
