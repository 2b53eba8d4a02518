"""The committed results and their table in docs/quality.md."""

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
RECONSTRUCTED = {"psnr": 2, "ssim": 3, "codebook_usage": 3, "codebook_perplexity": 1}
COLUMNS = ["data", "part", "model", "package", "version", "parameters", "minutes", "epochs"]
COLUMNS += [
    f"{name}{suffix}"
    for name in MEASURED
    for suffix in ("", "_se", "_real")
    if (name, suffix) != ("nats_per_token", "_real")
]
COLUMNS += [
    *RECONSTRUCTED,
    "is_exact",
    "num_compared",
    "judge",
    "images_per_second",
    "hardware",
    "commit",
]
SHARED = ["data", "model", "parameters", "minutes", "epochs"]
HEADS = {
    "prior": ["nats", "conformity", "coverage", "adherence", "Frechet", "pictures/s"],
    "tokenizer": ["PSNR, dB", "SSIM", "codebook usage", "codebook perplexity"],
}


def merged(old: list[Row], new: Row) -> list[Row]:
    """Replace the row of the same data, part and model; sort by data, ours before the peers."""
    kept = [row for row in old if any(row[key] != new[key] for key in ("data", "part", "model"))]
    return sorted(
        [*kept, new],
        key=lambda row: (row["part"], row["data"], row["package"] != "vqpriors"),
    )


def write_page(rows: list[Row], path: Path = PAGE) -> None:
    """Write the table between the markers of the page."""
    path.write_text(BETWEEN_MARKERS.sub(lambda _: table(rows), path.read_text()))


def table(rows: list[Row]) -> str:
    """Return a table of priors and one of tokenizers, and machine and commit of each row."""
    if not rows:
        return "Not measured yet: `python -m benchmarks.quality` measures and writes this table.\n"
    tables = [
        _part(found, part, heads)
        for part, heads in HEADS.items()
        if (found := [row for row in rows if row["part"] == part])
    ]
    notes: dict[str, list[str]] = {}
    for row in rows:
        machine = f"{row['hardware']}, commit {row['commit']}"
        notes.setdefault(machine, []).append(f"{row['model']} on {row['data']}")
    lines = [f"- {machine}: {', '.join(models)}." for machine, models in notes.items()]
    return "\n".join([*tables, "\n".join(lines), ""])


def _part(rows: list[Row], part: str, heads: list[str]) -> str:
    names = [*SHARED, *heads]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        lines += [_real_line(of_data[0])] if part == "prior" else []
        lines += map(_line, of_data)
    return "\n".join([*lines, ""])


def _real_line(row: Row) -> str:
    """Return the line of real pictures via the tokenizer."""
    cells = [_rounded(row, f"{name}_real", digits) for name, digits in MEASURED.items()]
    return f"| {' | '.join([row['data'], 'real pictures', '', '', '', *cells, ''])} |"


def _line(row: Row) -> str:
    package = "" if row["package"] == "vqpriors" else f", {row['package']} {row['version']}"
    size = f"{int(row['parameters']) / 1e6:.1f} M"
    cells = [row["data"], f"{row['model']}{package}", size]
    cells += [f"{float(row['minutes']):.1f}", str(row["epochs"])]
    if row["part"] == "tokenizer":
        cells += [_rounded(row, name, digits) for name, digits in RECONSTRUCTED.items()]
        return f"| {' | '.join(cells)} |"
    is_bound = str(row.get("is_exact")) == "False"
    for name, digits in MEASURED.items():
        value, error = _rounded(row, name, digits), _rounded(row, f"{name}_se", digits)
        bound = "<= " if name == "nats_per_token" and is_bound and value else ""
        cells.append(f"{bound}{value} ± {error}" if value else "-")
    return f"| {' | '.join([*cells, _rounded(row, 'images_per_second', 1)])} |"


def _rounded(row: Mapping[str, Any], name: str, digits: int) -> str:
    value = row.get(name)
    return "" if value in (None, "") else f"{float(value):.{digits}f}"
