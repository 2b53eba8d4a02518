"""The committed measurements and their table in docs/speed.md."""

import re
from pathlib import Path

from benchmarks.speed.benchmark import Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "metrics" / "reference" / "speed.csv"
PAGE = ROOT / "docs" / "speed.md"
BETWEEN_MARKERS = re.compile(r"(?<=<!-- speed -->\n).*?(?=<!-- /speed -->)", re.DOTALL)
HEADS = ["work", "size", "precision", "ours", "of the machine", "peer", "ours / peer", "ahead"]


def merged(old: list[Row], new: list[Row], order: list[str]) -> list[Row]:
    """Replace rows of the same work, precision, scale and machine by the new ones; sort by work."""
    replaced = {_place(row) for row in new}
    kept = [row for row in old if _place(row) not in replaced and row["work"] in order]
    return sorted([*kept, *new], key=lambda row: order.index(row["work"]))


def _place(row: Row) -> tuple[str, ...]:
    hardware = row["hardware"].partition(",")[0]
    return row["work"], row["precision"], row["scale"], hardware, row["threads"]


def write_page(found: list[Row], path: Path = PAGE) -> None:
    """Write the table between the markers of the page."""
    path.write_text(BETWEEN_MARKERS.sub(lambda _: table(found), path.read_text()))


def table(found: list[Row]) -> str:
    """Return a table of the rows for each machine and scale."""
    if not found:
        return "Not measured yet: `python -m benchmarks.speed` measures and writes this table.\n"
    heads = f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}"
    machines: dict[str, list[Row]] = {}
    for row in found:
        threads = f"{row['threads']} thread{'s' * (row['threads'] != '1')}"
        scale = ", at full size" * (row["scale"] == "full")
        machines.setdefault(f"{row['hardware']}, {threads}{scale}", []).append(row)
    tables = []
    for machine, rows in machines.items():
        commits = list(dict.fromkeys(row["commit"] for row in rows))
        named = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
        tables.append("\n".join([f"On {machine}, {named}:", "", heads, *map(line, rows)]))
    return "\n\n".join(tables) + "\n"


def line(row: Row) -> str:
    """Return a line of the table."""
    unit = row["unit"]
    cells = [f"`{row['work']}`", row["size"], row["precision"]]
    cells += [f"`{row['ours']}`: {_grouped(row['ours_value'])} {unit}"]
    cells += [f"{float(row['share']):.0%}" if row["share"] else "-"]
    cells += [f"`{row['peer']}` {row['peer_version']}: {_grouped(row['peer_value'])} {unit}"]
    return f"| {' | '.join([*cells, row['ratio'], ahead(row)])} |"


def ahead(row: Row) -> str:
    """Return which implementation is better, and by which factor."""
    ratio = float(row["ours_value"]) / float(row["peer_value"])
    better = ratio if row["unit"].endswith("/s") else 1 / ratio
    if 0.99 < better < 1.01:
        return "neither"
    who, factor = ("ours", better) if better > 1 else ("peer", 1 / better)
    return f"{who}, {factor:.3g} times"


def _grouped(value: str) -> str:
    whole, point, rest = value.partition(".")
    return f"{int(whole):,}{point}{rest}"
