"""Tables of ranked runs for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.runs import Run

TITLE = "Runs by "
WIDTH = 120
GAP = "  "
SHORTEST_NAME = 14  # of a run; longer names are cut only if the table would be too wide
FLOOR = "real pictures"

# Metric, title, format, factor of the shown value.
METRICS = [
    ("parameters", "M", "{:.1f}", 1e-6),
    ("nats_per_token", "nats", "{:.3f}", 1),
    ("frechet_distance", "Frechet", "{:.2f}", 1),
    ("kernel_distance", "kernel", "{:.4f}", 1),
    ("adherence", "adherence", "{:.1f}", 100),
    ("r_precision", "R-prec.", "{:.1f}", 100),
    ("conformity", "conformity", "{:.1f}", 100),
    ("coverage", "coverage", "{:.1f}", 100),
    ("recall", "recall", "{:.1f}", 100),
    ("images_per_second", "pics/s", "{:.0f}", 1),
    ("train_minutes", "min", "{:.1f}", 1),
]
SHOWN_IF_SORTED_BY = ("kernel_distance",)
LEFT_OUT_FIRST = ("recall", "coverage", "text", "conformity", "adherence", "R-prec.")
NOTE = """\
M: parameters of the prior, millions. Frechet: distance to real pictures. Shares in %. min: minutes
of training. ±: standard error. Runs share a rank if they differ by at most two standard errors.
Compare nats only between runs of one tokenizer; <=: upper bound. real pictures: the same measures
for real pictures, encoded and decoded by the tokenizer.
"""

Ranked = Sequence[tuple[Run, str]]
Columns = dict[str, list[str]]  # cells by title


def page(groups: Sequence[Ranked], sort: str, num_without_metrics: int) -> str:
    """Return a table of each group, none wider than `WIDTH`.

    Args:
        groups: Runs that compare, with ranks.
        sort: The metric that they are sorted by.
        num_without_metrics: Number of runs that are left out.
    """
    blocks = [table(group, sort) for group in groups]
    notes = NOTE if groups else ""
    if num_without_metrics:
        notes += f"Left out: {num_without_metrics} experiments without metrics.\n"
    return "\n".join([f"{TITLE}{sort}\n", *blocks, notes])


def table(group: Ranked, sort: str) -> str:
    """Return a heading and the rows of runs that compare."""
    columns = _columns(group, sort)
    kept = next((title for name, title, *_ in METRICS if name == sort), "")
    left_out = _fit(columns, kept)
    widths = {title: max(map(len, [title, *cells])) for title, cells in columns.items()}
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    lines = [GAP.join(_padded(cells, widths)).rstrip() for cells in rows]
    tail = [f"({', '.join(left_out)}: no room; see --format csv)"] if left_out else []
    return "\n".join([_heading(group[0][0]), *lines, *tail, ""])


def _padded(cells: Sequence[str], widths: Mapping[str, int]) -> list[str]:
    """Return cells of equal width; words to the left, numbers to the right."""
    return [
        cell.ljust(width) if title in ("run", "prior", "text") else cell.rjust(width)
        for cell, (title, width) in zip(cells, widths.items(), strict=True)
    ]


def _heading(run: Run) -> str:
    split = f", {run.split} split" if run.split else ""
    judge, count = run.metrics.get("judge"), run.metrics.get("num_compared")
    if judge is None:
        return f"{run.data}{split}: no judge recorded, so no ranks"
    counted = f"{count} pictures compared, " if count is not None else ""
    return f"{run.data}{split}: {counted}judge {judge}"


def _columns(group: Ranked, sort: str) -> Columns:
    runs = [run for run, _ in group]
    floors = _floors(runs)
    blank = [""] * len(floors)
    columns = {
        "rank": [*(place for _, place in group), *blank],
        "run": [*(run.name for run in runs), *floors],
        "prior": [*(run.prior for run in runs), *blank],
    }
    if len({run.text for run in runs}) > 1:
        columns["text"] = [*(run.text or "-" for run in runs), *blank]
    for metric, title, form, factor in METRICS:
        show = _shown(metric, form, factor)
        cells = [show(run.metrics) for run in runs]
        is_wanted = metric == sort or metric not in SHOWN_IF_SORTED_BY
        if is_wanted and any(cell != "-" for cell in cells):
            columns[title] = cells + [
                _floor(floor, metric, form, factor) for floor in floors.values()
            ]
    return columns


def _shown(metric: str, form: str, factor: float) -> Callable[[Mapping[str, Any]], str]:
    def show(metrics: Mapping[str, Any]) -> str:
        if metric not in metrics:
            return "-"
        bound = "<=" if metric == "nats_per_token" and "nats_bound_se" in metrics else ""
        text = bound + form.format(factor * metrics[metric])
        error = metrics.get(f"{metric}_se")
        return text if error is None else f"{text}±{form.format(factor * error)}"

    return show


def _floors(runs: Sequence[Run]) -> dict[str, Mapping[str, Any]]:
    """Return the metrics of real pictures by title; they differ between tokenizers."""
    found: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        values = tuple(run.metrics.get(f"{name}_real") for name, *_ in METRICS)
        if any(value is not None for value in values):
            found.setdefault(values, run)
    if len(found) == 1:
        return {FLOOR: next(iter(found.values())).metrics}
    return {f"real, as {run.name}": run.metrics for run in found.values()}


def _floor(metrics: Mapping[str, Any], metric: str, form: str, factor: float) -> str:
    value = metrics.get(f"{metric}_real")
    return "" if value is None else form.format(factor * value)


def _fit(columns: Columns, kept: str) -> list[str]:
    """Shorten names and remove columns until a row fits; return the titles of those removed."""
    left_out: list[str] = []
    removable = [title for title in LEFT_OUT_FIRST if title in columns and title != kept]
    while (excess := _width(columns) - WIDTH) > 0:
        longest = max(map(len, columns["run"]))
        if longest > SHORTEST_NAME:
            columns["run"] = [
                _cut(name, max(SHORTEST_NAME, longest - excess)) for name in columns["run"]
            ]
        elif removable:
            left_out.append(removable.pop(0))
            del columns[left_out[-1]]
        else:
            break
    return left_out


def _width(columns: Columns) -> int:
    widest = [max(map(len, [title, *cells])) for title, cells in columns.items()]
    return sum(widest) + len(GAP) * (len(widest) - 1)


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}~"
