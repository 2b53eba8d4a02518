"""Write report.html, a single file with the metrics, curves and pictures of one or more runs.

It is the page of `dvc plots show`, or of `dvc plots diff` for several revisions, with embedded
pictures, a table of metrics and a table of the params that differ.
"""

import argparse
import base64
import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from dvc.utils.flatten import flatten

from tools.readme_numbers import ROWS
from vqpriors.core.artifact import new_file

METRICS = "metrics/evaluate/metrics.json"
WORKSPACE = "workspace"
PICTURE = re.compile(r'src="(static/[^"]+\.png)"')
BODY = '<div id="found">'

Run = Mapping[str, Any]


def main() -> None:
    """Write the report of the given revisions, or of the working tree if none is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "revisions", nargs="*", help="commits or experiments to compare (default: the working tree)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="default: %(default)s"
    )
    options = parser.parse_args()
    try:
        _require_replaceable(options.out)
        page = report(options.revisions)
    except (DvcException, OSError, ValueError) as error:
        sys.exit(f"error: report: {' '.join(str(error).split())}")
    with new_file(options.out) as file:
        file.write_text(page, encoding="utf-8")
    print(f"{options.out}: {len(page) / 1e6:.1f} MB; it needs no other files and no network")


def _require_replaceable(path: Path) -> None:
    """Refuse a path that has another file than a report."""
    if path.is_file() and BODY not in path.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"{path}: is there already and is not a report; choose another --out")


def report(revisions: Sequence[str]) -> str:
    """Return the page of some revisions, or of the working tree if there are none."""
    names = list(revisions) or [WORKSPACE]
    metrics = {name: dvc.api.metrics_show(METRICS, rev=_rev(name)) for name in names}
    params = {name: flatten(dvc.api.params_show(rev=_rev(name))) for name in names}
    tables = [_numbers(metrics), _differing(params)]
    return _plots(revisions).replace(BODY, "\n".join([*tables, BODY]), 1)


def _rev(name: str) -> str | None:
    return None if name == WORKSPACE else name


def _plots(revisions: Sequence[str]) -> str:
    """Return DVC's page with embedded pictures."""
    arguments = ["diff", *revisions] if revisions else ["show"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dvc", "plots", *arguments, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise DvcException(done.stderr.strip().splitlines()[-1])
        page = (Path(folder) / "index.html").read_text()

        def inlined(found: re.Match[str]) -> str:
            data = base64.b64encode((Path(folder) / found[1]).read_bytes()).decode()
            return f'src="data:image/png;base64,{data}"'

        return PICTURE.sub(inlined, page)


def _numbers(metrics: Mapping[str, Run]) -> str:
    rows = []
    for name, form, meaning in ROWS:
        cells = [form.format(run[name]) if name in run else "-" for run in metrics.values()]
        if set(cells) != {"-"}:
            rows.append([name, *cells, meaning])
    return _table("Metrics of the test split", ["metric", *metrics, "meaning"], rows)


def _differing(params: Mapping[str, Run]) -> str:
    keys = dict.fromkeys(key for run in params.values() for key in run)
    rows = [[key, *(str(run.get(key, "-")) for run in params.values())] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return _table("Params that differ", ["param", *params], differing)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    if not rows:
        return ""
    lines = [line(heads, "th"), *(line(row, "td") for row in rows)]
    return f'<h2>{html.escape(title)}</h2>\n<div class="card"><table>{"".join(lines)}</table></div>'


if __name__ == "__main__":
    main()
