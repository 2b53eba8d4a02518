"""How time and memory grow with the codes of a picture, the batch and the rows of data.

`python -m benchmarks.growth` measures each point in a new process, writes
metrics/reference/growth.csv, docs/growth.png and the table of docs/speed.md. Linux only.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.memory import megabytes, write
from benchmarks.speed import ours
from benchmarks.speed.benchmark import SMALL, Row, Size
from stages import keep_freed_memory
from tools.csv_rows import read_rows, write_rows
from tools.keep_priors import hardware

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "metrics" / "reference" / "growth.csv"
PLOT = ROOT / "docs" / "growth.png"
PAGE = ROOT / "docs" / "speed.md"
MARKED = re.compile(r"(?<=<!-- growth -->\n).*?(?=<!-- /growth -->)", re.DOTALL)
COLUMNS = ["axis", "work", "value", "seconds", "megabytes", "threads", "hardware"]
REPEATS = 3
MASKED_STEPS = 12

TRAIN_TRANSFORMER = "training step of transformer"
TRAIN_CFTN = "training step of cftn"
DRAW_TRANSFORMER = "drawing with transformer"
DRAW_CFTN = f"drawing with cftn in {MASKED_STEPS} steps"
READ = "reading tokens, 200 batches of 32"


class Axis(NamedTuple):
    """What grows.

    Attributes:
        values: The values that are measured.
        works: What is measured.
        label: Label in the plot, with what stays fixed.
        item: What the values count.
    """

    values: tuple[int, ...]
    works: tuple[str, ...]
    label: str
    item: str


PRIORS = (TRAIN_TRANSFORMER, TRAIN_CFTN, DRAW_TRANSFORMER, DRAW_CFTN)
AXES = {
    "codes": Axis((49, 256, 1024, 4096), PRIORS, "codes of a picture, batch 1", "codes"),
    "batch": Axis((1, 4, 16, 64), PRIORS, "pictures in a batch, 256 codes each", "in a batch"),
    "rows": Axis((10_000, 100_000, 1_000_000), (READ,), "pictures, 1,024 codes each", "rows"),
}


def main() -> None:
    """Measure all axes, or those named, and draw them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="AXIS", help=f"{', '.join(AXES)} (default: all)"
    )
    parser.add_argument("--page", action="store_true", help="only draw and write the table again")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        work, sizes = options.measure
        print(json.dumps(measure(work, **json.loads(sizes))))
        return
    if unknown := set(options.names) - AXES.keys():
        parser.error(f"no axis {min(unknown)!r}; there are {', '.join(AXES)}")
    for name in [] if options.page else options.names or AXES:
        kept = [row for row in read_rows(RESULTS) if row["axis"] != name]
        write_rows(RESULTS, [*kept, *measured(name)], COLUMNS)
    found = read_rows(RESULTS)
    draw(found)
    PAGE.write_text(MARKED.sub(lambda _: table(found), PAGE.read_text()))


def measured(name: str) -> list[Row]:
    """Measure an axis, each point in a new process."""
    axis, found = AXES[name], []
    machine = {"threads": str(torch.get_num_threads()), "hardware": hardware(is_on_cpu=True)}
    for work in axis.works:
        for value in axis.values:
            command = [sys.executable, "-m", "benchmarks.growth", "--measure", work]
            command.append(json.dumps({name: value}))
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = {"axis": name, "work": work, "value": str(value), **machine}
            row |= {key: f"{number:.4g}" for key, number in json.loads(done.stdout).items()}
            print(", ".join(row.values()), flush=True)
            found.append(row)
    return found


def measure(work: str, *, codes: int = 256, batch: int = 1, rows: int = 0) -> dict[str, float]:
    """Return the seconds of a run, and the megabytes that it adds to the process at its peak.

    Args:
        work: One of the names above.
        codes: Codes of a picture, a square number.
        batch: Pictures in a batch.
        rows: Pictures in the data; only for `READ`.
    """
    if work == READ:
        return reading(rows)
    keep_freed_memory()
    torch.manual_seed(0)
    edge = round(codes**0.5)
    run = runner(work, replace(SMALL, pixels=4 * edge, batch=batch))
    before = megabytes("RssAnon")
    run()
    peak = megabytes("VmHWM") - megabytes("RssFile")
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return {"seconds": median(seconds), "megabytes": max(peak - before, 1)}


def runner(work: str, size: Size) -> Callable[[], Any]:
    """Return a function that does the work of a prior once."""
    is_masked = work in (TRAIN_CFTN, DRAW_CFTN)
    text = ours.text_shape(size) if is_masked else ours.NO_TEXT
    prior = ours.prior("cftn" if is_masked else "transformer", size, text)
    if work in (TRAIN_TRANSFORMER, TRAIN_CFTN):
        return ours.training(prior, ours.prior_batch(prior, size, text), "no")
    return ours.sampling(prior, count=size.batch, text=text, precision="no", steps=MASKED_STEPS)


def reading(rows: int) -> dict[str, float]:
    """Return the seconds and megabytes of a process that reads tokens and takes batches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens"
        write(path, rows, is_distinct=False)
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return {"seconds": found["seconds"], "megabytes": found["held_mb"] - found["imports_mb"]}


def slope(points: list[tuple[float, float]]) -> float:
    """Return the exponent with which y grows: the slope of log y over log x, by least squares."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def series(found: list[Row], axis: str, work: str, key: str) -> list[tuple[float, float]]:
    """Return the points of a line of the plot."""
    rows = [row for row in found if (row["axis"], row["work"]) == (axis, work)]
    return sorted((float(row["value"]), float(row[key])) for row in rows)


def table(found: list[Row]) -> str:
    """Return a table of the first and last point of each line, and its exponents."""
    if not found:
        return "Not measured yet.\n"
    lines = [
        "| work | from | to | seconds | exponent | MB | exponent |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, axis in AXES.items():
        for work in axis.works:
            seconds, memory = (series(found, name, work, key) for key in COLUMNS[3:5])
            if not seconds:
                continue
            first, last = (f"{point[0]:,.0f} {axis.item}" for point in (seconds[0], seconds[-1]))
            cells = [work, first, last]
            for points in (seconds, memory):
                ends = " to ".join(_rounded(points[place][1]) for place in (0, -1))
                cells += [ends, f"{slope(points):.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    machines = dict.fromkeys(f"{row['hardware']}, {row['threads']} threads" for row in found)
    return "\n".join([*(f"- {machine}" for machine in machines), "", *lines, ""])


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(found: list[Row]) -> None:
    """Draw seconds and megabytes over each axis, on logarithmic scales."""
    import matplotlib.pyplot as plt  # only needed here

    plt.switch_backend("agg")
    figure, plots = plt.subplots(2, len(AXES), figsize=(15, 8), layout="constrained")
    for column, (name, axis) in enumerate(AXES.items()):
        for line, (key, label) in enumerate((("seconds", "seconds"), ("megabytes", "MB"))):
            plot = plots[line][column]
            for work in axis.works:
                points = series(found, name, work, key)
                if points:
                    text = f"{work}: exponent {slope(points):.2f}"
                    plot.plot(*zip(*points, strict=True), marker="o", label=text)
            plot.set(xscale="log", yscale="log", xlabel=axis.label, ylabel=label)
            plot.grid(visible=True, which="major", alpha=0.3)
            if plot.lines:
                plot.legend(fontsize=8)
    figure.savefig(PLOT, dpi=80)


if __name__ == "__main__":
    main()
