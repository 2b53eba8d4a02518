"""Write report.html, a single file with the metrics, curves and pictures of one or more runs.

It is the page of `make plots` with embedded pictures.
"""

import argparse
import base64
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import DvcException

from tools.page import BODY, write_page
from vqpriors.core.artifact import new_file

PICTURE = re.compile(r'src="(static/[^"]+\.png)"')


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
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; choose another --out")
    if path.is_file() and BODY not in path.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"{path}: is there already and is not a report; choose another --out")


def report(revisions: Sequence[str]) -> str:
    """Return the page of some revisions, or of the working tree if there are none."""
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(revisions, Path(folder))

        def embedded(found: re.Match[str]) -> str:
            data = base64.b64encode((Path(folder) / found[1]).read_bytes()).decode()
            return f'src="data:image/png;base64,{data}"'

        return PICTURE.sub(embedded, page)


if __name__ == "__main__":
    main()
