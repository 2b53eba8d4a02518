"""Compare speed with other packages; write metrics/reference/speed.csv and docs/speed.md."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.speed import checkouts, masked, start_up, stepwise, tokenizers
from benchmarks.speed.benchmark import (
    COLUMNS,
    FULL,
    PRECISIONS,
    SMALL,
    Benchmark,
    Row,
    Size,
    is_installed,
    measure,
    rows,
)
from benchmarks.speed.machine import share
from benchmarks.speed.table import RESULTS, ROOT, line, merged, write_page
from stages import keep_freed_memory
from tools.csv_rows import read_rows, write_rows
from tools.keep_priors import hardware
from vqpriors.core.hardware import Precision, resolve_precision

Work = Callable[[Size, list[Precision]], Iterator[Benchmark]]
WORKS: dict[str, Work] = {
    "tokenizer-step": tokenizers.step,
    "encode": tokenizers.encode,
    "nearest-code": tokenizers.nearest_code,
    "prior-step": stepwise.step,
    "masked-prior-step": masked.step,
    "stepwise-sampling": stepwise.sampling,
    "lstm-sampling": stepwise.lstm_sampling,
    "masked-sampling": masked.sampling,
    "one-step-sampling": masked.one_step_sampling,
    "start-up": start_up.start_up,
}
EXTRA = ("vector-quantize-pytorch", "x-transformers")
IDLE = 0.5  # highest load average of an idle machine


def main() -> None:
    """Run the named benchmarks, or all; write the rows of each as soon as it ends."""
    options = _options()
    if options.page:
        write_page(read_rows(RESULTS))
        return
    if missing := [package for package in EXTRA if not is_installed(package)]:
        fix = "pip install -e '.[peers]'"
        sys.exit(f"error: benchmarks.speed: {', '.join(missing)} not installed; {fix}")
    if os.environ.get("OMP_WAIT_POLICY") == "PASSIVE":
        sys.exit(
            "error: benchmarks.speed: threads sleep while they wait, unlike in programs that use "
            "the peers; set OMP_WAIT_POLICY=ACTIVE"
        )
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    named = options.hardware or _hardware(options.device)
    scale = "full" if options.full else "small"
    machine = {"scale": scale, "threads": str(options.threads), "hardware": named}
    machine["commit"] = checkouts.commit_of(ROOT)
    began = time.monotonic()
    for name in options.names or WORKS:
        found = run(WORKS[name], FULL if options.full else SMALL, options, machine)
        if not options.dry_run:
            found = merged(read_rows(RESULTS), found, list(WORKS))
            write_rows(RESULTS, found, COLUMNS)
            write_page(found)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")


def run(work: Work, size: Size, options: argparse.Namespace, machine: Row) -> list[Row]:
    """Run the benchmarks of a task and print their rows."""
    torch.manual_seed(0)
    found = []
    precisions = [options.precision] if options.precision else _precisions(options.device)
    for benchmark in _on(options.device, work(size, precisions)):
        values = measure(benchmark, repeats=options.repeats)
        part = share(benchmark, values[0], device=options.device)
        new = rows(benchmark, values, machine, share=part)
        print("\n".join(map(line, new)), flush=True)
        found += new
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(WORKS)} (default: all)"
    )
    parser.add_argument("--full", action="store_true", help="sizes for 128 px")
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed runs of each (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="default: all that are fast on this device"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument(
        "--checkout",
        action="append",
        type=Path,
        default=[],
        metavar="FOLDER",
        help=f"checkout of a further peer, repeatable: {', '.join(checkouts.KNOWN.values())}",
    )
    parser.add_argument("--hardware", help="default: name of the device, and load of the machine")
    parser.add_argument("--page", action="store_true", help="only write the table again")
    parser.add_argument("--dry-run", action="store_true", help="print results without writing them")
    options = parser.parse_args()
    if unknown := set(options.names) - set(WORKS):
        parser.error(f"no benchmark {min(unknown)!r}; there are {', '.join(WORKS)}")
    try:
        for folder in options.checkout:
            checkouts.use(folder)
    except ValueError as error:
        parser.error(f"--checkout: {error}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: cuda is not available on this machine")
    return options


def _on(device: str, benchmarks: Iterator[Benchmark]) -> Iterator[Benchmark]:
    """Yield benchmarks whose models and data are made on a device."""
    while True:
        with torch.device(device):
            benchmark = next(benchmarks, None)
        if benchmark is None:
            return
        yield benchmark


def _precisions(device: str) -> list[Precision]:
    return ["no", "bf16"] if resolve_precision("auto", torch.device(device)) == "bf16" else ["no"]


def _hardware(device: str) -> str:
    load = os.getloadavg()[0]
    busy = f", beside other work (load {load:.1f} at the start)" if load > IDLE else ""
    return f"{hardware(is_on_cpu=device == 'cpu')}{busy}"


if __name__ == "__main__":
    main()
