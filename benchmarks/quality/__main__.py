"""Train networks of other packages on the data of the current run and compare the quality.

Each gets the training minutes and the size of the run's prior or tokenizer; priors draw with their
own samplers. Writes metrics/reference/quality.csv and the tables of docs/quality.md.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException

from benchmarks.quality import priors, tokenizers
from benchmarks.quality.table import COLUMNS, RESULTS, Row, merged, write_page
from benchmarks.speed.benchmark import is_installed
from stages import keep_freed_memory
from tools.csv_rows import read_rows, write_rows
from tools.keep_priors import hardware
from vqpriors.core.params import Params

PEERS = priors.PEERS | tokenizers.NETWORKS


def main() -> None:
    """Measure the run and each peer, and write the row of each as soon as it is measured."""
    options = _options()
    if options.page:
        write_page(read_rows(RESULTS))
        return
    keep_freed_memory()
    try:
        for row in _rows(options):
            _write(row | {"hardware": options.hardware, "commit": _commit()})
    except (ValueError, OSError, DvcException) as error:
        sys.exit(f"error: benchmarks.quality: {' '.join(str(error).split())}")


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    import dvc.api

    params = Params(dvc.api.params_show("params.yaml"))
    data = {"data": params.value("data.name", str)}
    chosen = [name for name in options.peers if name in priors.PEERS]
    if chosen:
        run = priors.read_run(params)
        trained = _metrics("train_prior")["train_minutes"]
        yield data | {"part": "prior"} | priors.own_row(run, minutes=trained)
        minutes = options.minutes or trained
        for name in chosen:
            row = priors.peer_row(run, name, minutes=minutes, lr=options.lr)
            yield data | {"part": "prior"} | row
    chosen = [name for name in options.peers if name in tokenizers.NETWORKS]
    if chosen:
        trained = _metrics("train_tokenizer")
        yield data | {"part": "tokenizer"} | tokenizers.own_row(params, trained)
        minutes = options.minutes or trained["train_minutes"]
        for name in chosen:
            row = tokenizers.peer_row(params, name, minutes=minutes, lr=options.lr)
            yield data | {"part": "tokenizer"} | row


def _metrics(stage: str) -> dict[str, Any]:
    return json.loads(Path(f"metrics/{stage}/metrics.json").read_text())


def _write(row: Row) -> None:
    found = merged(read_rows(RESULTS), row)
    write_rows(RESULTS, found, COLUMNS)
    write_page(found)
    print(json.dumps(row), flush=True)


def _commit() -> str:
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"{', '.join(PEERS)} (default: all)"
    )
    parser.add_argument(
        "--minutes", type=float, help="training time of a peer (default: that of the run)"
    )
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="peak learning rate of a peer (default: %(default)s)"
    )
    parser.add_argument("--hardware", default=hardware(), help="default: %(default)s")
    parser.add_argument("--page", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no peer {min(unknown)!r}; there are {', '.join(PEERS)}")
    options.peers = options.peers or list(PEERS)
    for package in sorted({PEERS[name] for name in options.peers}):
        if not options.page and not is_installed(package):
            parser.error(f"{package}: not installed; pip install -e '.[peers]'")
    return options


if __name__ == "__main__":
    main()
