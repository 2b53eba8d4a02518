"""The committed results and their table in docs/quality.md."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "metrics" / "reference" / "quality.csv"
PAGE = ROOT / "docs" / "quality.md"
BETWEEN_MARKERS = re.compile(r"(?<=<!-- quality -->\n).*?(?=<!-- /quality -->)", re.DOTALL)
MEASURED = {  # digits after the point
    "nats_per_token": 3,
    "conformity": 3,
    "coverage": 3,
    "adherence": 3,
    "frechet_distance": 2,
}
COLUMNS = ["data", "model", "package", "version", "parameters", "minutes", "epochs"]
COLUMNS += [
    f"{name}{suffix}"
    for name in MEASURED
    for suffix in ("", "_se", "_real")
    if (name, suffix) != ("nats_per_token", "_real")
]
COLUMNS += ["is_exact", "num_compared", "judge", "images_per_second", "hardware", "commit"]
HEADS = ["data", "model", "parameters", "minutes", "epochs", "nats", "conformity", "coverage"]
HEADS += ["adherence", "Frechet", "pictures/s"]


def merged(old: list[Row], new: Row) -> list[Row]:
    """Replace the row of the same data and model; sort by data, ours before the peers."""
    kept = [row for row in old if (row["data"], row["model"]) != (new["data"], new["model"])]
    return sorted([*kept, new], key=lambda row: (row["data"], row["package"] != "vqpriors"))


def read_rows(path: Path = RESULTS) -> list[Row]:
    """Read the rows, values as texts; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(rows: list[Row], path: Path = RESULTS) -> None:
    """Write the rows as CSV; metrics without a column are left out."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_page(rows: list[Row], path: Path = PAGE) -> None:
    """Write the table between the markers of the page."""
    path.write_text(BETWEEN_MARKERS.sub(lambda _: table(rows), path.read_text()))


def table(rows: list[Row]) -> str:
    """Return the table of the rows, and the machine, commit and judge of each data set."""
    if not rows:
        return "Not measured yet: `python -m benchmarks.quality` measures and writes this table.\n"
    lines = [f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    notes = []
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        lines += [_real_line(of_data[0]), *map(_line, of_data)]
        notes += [
            f"- {data}, {row['model']}: {row['hardware']}, commit {row['commit']}."
            for row in of_data
        ]
    return "\n".join([*lines, "", *notes, ""])


def _real_line(row: Row) -> str:
    """Return the line of real pictures via the tokenizer."""
    cells = [_rounded(row, f"{name}_real", digits) for name, digits in MEASURED.items()]
    return f"| {' | '.join([row['data'], 'real pictures', '', '', '', *cells, ''])} |"


def _line(row: Row) -> str:
    package = "" if row["package"] == "vqpriors" else f", {row['package']} {row['version']}"
    size = f"{int(row['parameters']) / 1e6:.1f} M"
    cells = [row["data"], f"{row['model']}{package}", size, str(row["minutes"]), str(row["epochs"])]
    is_bound = str(row.get("is_exact")) == "False"
    for name, digits in MEASURED.items():
        value, error = _rounded(row, name, digits), _rounded(row, f"{name}_se", digits)
        bound = "<= " if name == "nats_per_token" and is_bound and value else ""
        cells.append(f"{bound}{value} ± {error}" if value else "-")
    return f"| {' | '.join([*cells, _rounded(row, 'images_per_second', 1)])} |"


def _rounded(row: Mapping[str, Any], name: str, digits: int) -> str:
    value = row.get(name)
    return "" if value in (None, "") else f"{float(value):.{digits}f}"
