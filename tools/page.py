"""The page of `dvc plots show` or `dvc plots diff` with tables of metrics and differing params."""

import html
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.flatten import flatten

from tools.readme_numbers import ROWS, cell

METRICS = "metrics/evaluate/metrics.json"
WORKSPACE = "workspace"
BODY = '<div id="found">'  # of the page of tools/plots_page

Run = Mapping[str, Any]


def write_page(revisions: Sequence[str], folder: Path) -> str:
    """Write DVC's pictures to a folder and return its page with the tables.

    Args:
        revisions: Commits or experiments to compare; the working tree if there are none. A single
            one is compared with the working tree.
        folder: Where DVC writes.

    Raises:
        DvcException: If DVC can't read a revision.
    """
    names = list(revisions) or [WORKSPACE]
    if len(revisions) == 1:
        names.append(WORKSPACE)
    metrics = {name: _metrics(name) for name in names}
    params = {name: flatten(dvc.api.params_show(rev=_rev(name))) for name in names}
    tables = [_numbers(metrics), _differing(params)]
    return _plots(revisions, folder).replace(BODY, "\n".join([*tables, BODY]), 1)


def _metrics(name: str) -> Run:
    """Return the metrics of a run; {} if it has not been evaluated.

    `dvc.api.metrics_show` of a commit fails if the working tree has no metrics.
    """
    revision = _rev(name)
    with Repo() as repo:
        shown = repo.metrics.show(targets=[METRICS], revs=revision and [revision])
    _, last = shown.popitem()  # DVC puts the working tree before the revision
    return last.get("data", {}).get(METRICS, {}).get("data", {})


def _rev(name: str) -> str | None:
    return None if name == WORKSPACE else name


def _plots(revisions: Sequence[str], folder: Path) -> str:
    arguments = ["diff", *revisions] if revisions else ["show"]
    command = [sys.executable, "-m", "dvc", "plots", *arguments, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DvcException(done.stderr.strip().splitlines()[-1])
    return (folder / "index.html").read_text(encoding="utf-8")


def _numbers(metrics: Mapping[str, Run]) -> str:
    rows = []
    for name, form, meaning in ROWS:
        cells = [cell(run, name, form) for run in metrics.values()]
        if set(cells) != {"-"}:
            rows.append([name, *cells, meaning])
    return _table("Metrics", ["metric", *metrics, "meaning"], rows)


def _differing(params: Mapping[str, Run]) -> str:
    keys = dict.fromkeys(key for run in params.values() for key in run)
    rows = [[key, *(str(run.get(key, "-")) for run in params.values())] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return _table("Params that differ", ["param", *params], differing)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_marked_up(it)}</{tag}>" for it in cells) + "</tr>"

    if not rows:
        return ""
    lines = [line(heads, "th"), *(line(row, "td") for row in rows)]
    return f'<h2>{html.escape(title)}</h2>\n<div class="card"><table>{"".join(lines)}</table></div>'


def _marked_up(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
