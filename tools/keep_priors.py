"""Copy the metrics of each prior's experiment to metrics/reference/DATA/PRIOR, or --name/PRIOR.

Takes the newest experiment of each prior on the current commit (`make priors` runs them), then
writes the leaderboard. Run it on the machine that trained the priors.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import dvc.api

from tools import reference

ROOT = Path(__file__).resolve().parents[1]
KEPT = (
    "evaluate/metrics.json",
    "evaluate/steps.tsv",
    "evaluate/samples.png",
    "evaluate/edits.png",
    "sample/metrics.json",
    "train_prior/metrics.json",
    "train_judge/metrics.json",
    "train_tokenizer/metrics.json",
)
CURVES = "train_prior/plots/metrics/{}/loss.tsv"


def main() -> None:
    """Copy metrics, sheets and curves from the experiments' commits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--hardware", default=hardware(), help="hardware of the experiments (default: %(default)s)"
    )
    parser.add_argument(
        "--name", help="folder below metrics/reference (default: the name of the data set)"
    )
    options = parser.parse_args()
    rows = [row for row in dvc.api.exp_show() if row.get("typ") in ("branch_base", "branch_commit")]
    newest: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: str(row["Created"])):
        newest[row["data.name"], row["prior.arch"]] = row
    if not newest:
        sys.exit("error: keep_priors: no experiments on this commit; run `make priors`")
    if options.name and len({data for data, _ in newest}) > 1:
        sys.exit(
            "error: keep_priors: --name: the experiments are of several data sets; remove some"
        )
    for (data, prior), row in newest.items():
        folder = ROOT / "metrics" / "reference" / (options.name or data) / prior
        revision = row["rev"]
        remove_tracked(folder)
        for name in (*KEPT, *(CURVES.format(split) for split in ("train", "validation"))):
            _copy(revision, name, folder / name.replace("plots/metrics/", ""))
        run = {"text": row["text.encoder"], "split": row["evaluate.split"]}
        run["hardware"] = options.hardware
        run["commit"] = _git("rev-parse", "--short=7", f"{revision}^").decode().strip()
        (folder / reference.RUN).write_text(json.dumps(run, indent=2) + "\n")
        print(f"{folder.relative_to(ROOT)}: {revision[:7]}")
    reference.write()


def remove_tracked(folder: Path) -> None:
    """Remove the files of a folder that git tracks, and leave others alone."""
    for name in _git("ls-files", "-z", str(folder)).decode().split("\0")[:-1]:
        (ROOT / name).unlink(missing_ok=True)


def hardware(*, is_on_cpu: bool = False) -> str:
    """Return number and name of the GPUs, or without one, number of threads and processor.

    A CPU with fast bfloat16 is marked, since it trains 2 to 3 times as fast as others of its name.

    Args:
        is_on_cpu: Whether GPUs are not used.
    """
    import torch

    from vqpriors.core.hardware import resolve_precision

    if (count := torch.cuda.device_count()) and not is_on_cpu:
        return f"{count} x {torch.cuda.get_device_name()}"
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    named = re.search(r"^model name\s*: (.*)$", _cpus(), re.MULTILINE)
    name = f"{threads} x {named[1] if named else platform.processor()}"
    is_fast = resolve_precision("auto", torch.device("cpu")) == "bf16"
    return f"{name} with fast bfloat16" if is_fast else name


def _cpus() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""


def _copy(revision: str, name: str, target: Path) -> None:
    shown = _git("show", f"{revision}:metrics/{name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(shown)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


if __name__ == "__main__":
    main()
