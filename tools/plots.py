"""Write dvc_plots/index.html: metrics, differing params, samples and curves of one or more runs."""

import argparse
import sys
from pathlib import Path

from dvc.exceptions import DvcException

from tools.page import write_page
from vqpriors.core.artifact import new_file

FOLDER = Path("dvc_plots")


def main() -> None:
    """Write the page of the given revisions, or of the working tree if none is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "revisions",
        nargs="*",
        help="commits or experiments to compare (default: the working tree alone)",
    )
    options = parser.parse_args()
    page = FOLDER / "index.html"
    try:
        text = write_page(options.revisions, FOLDER)
    except (DvcException, OSError, ValueError) as error:
        sys.exit(f"error: plots: {' '.join(str(error).split())}")
    with new_file(page) as file:
        file.write_text(text, encoding="utf-8")
    print(f"open {page} in a browser; it needs no network")


if __name__ == "__main__":
    main()
