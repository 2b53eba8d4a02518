"""Compare quantizers by codebook size: train the tokenizer with each and write a table.

Each setting is a DVC experiment of the stage `train_tokenizer`, in a temporary copy of the
repository; one that has been run before is restored from DVC's cache. Its rows replace those of
an earlier run on the same data set.
"""

import argparse
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dvc.api

from tools.csv_rows import read_rows, write_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tokenizers.md"
CODEBOOKS = ROOT / "metrics" / "reference" / "codebooks.csv"
METRICS = "metrics/train_tokenizer/metrics.json"
BETWEEN_MARKERS = re.compile(r"(?<=<!-- codebooks -->\n).*?(?=<!-- /codebooks -->)", re.DOTALL)

EMA, FSQ = "tokenizer.quantizer=ema", "tokenizer.quantizer=fsq"
# FSQ levels of at least 5, as its paper recommends, whose product is the codebook size.
SETTINGS = {
    "ema-512": f"{EMA} tokenizer.ema.num_codes=512",
    "ema-4096": f"{EMA} tokenizer.ema.num_codes=4096",
    "ema-16384": f"{EMA} tokenizer.ema.num_codes=16384",
    "fsq-512": f"{FSQ} tokenizer.fsq.levels=[8,8,8]",
    "fsq-4096": f"{FSQ} tokenizer.fsq.levels=[8,8,8,8]",
    "fsq-16384": f"{FSQ} tokenizer.fsq.levels=[8,8,16,16]",
}
SPLITS = ("validation", "test")
MEASURED = {"psnr": ".2f", "ssim": ".3f", "codebook_usage": ".4f", "codebook_perplexity": ".1f"}
COLUMNS = ["data", "quantizer", "codebook_size", "changes", "split", *MEASURED, "train_minutes"]

Row = dict[str, str]


def main() -> None:
    """Run all settings, writing the rows of each as soon as it ends; then update the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "-S",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="change a param of all runs",
    )
    more = parser.parse_args().changes
    for name, changes in SETTINGS.items():
        run(f"codebook-{name}", [*changes.split(), *more])
        params, metrics = read_experiment(f"codebook-{name}")
        found = merged(read_rows(CODEBOOKS), rows(changes, params, metrics))
        write_rows(CODEBOOKS, found, COLUMNS)
    PAGE.write_text(BETWEEN_MARKERS.sub(lambda _: table(read_rows(CODEBOOKS)), PAGE.read_text()))
    print(f"{CODEBOOKS.relative_to(ROOT)} and docs/tokenizers.md: rows of {len(SETTINGS)} settings")


def run(experiment: str, changes: list[str]) -> None:
    """Train the tokenizer with changed params, as a named experiment."""
    options = [part for change in changes for part in ("-S", change)]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--force", "--name", experiment]
    subprocess.run([*command, *options, "train_tokenizer"], cwd=ROOT, check=True)


def read_experiment(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the params of an experiment and the metrics of its tokenizer."""
    source: dict[str, Any] = {"repo": str(ROOT), "rev": name}
    return dvc.api.params_show(**source), dvc.api.metrics_show(METRICS, **source)


def rows(changes: str, params: dict[str, Any], metrics: dict[str, Any]) -> list[Row]:
    """Return the metrics of an experiment, a row for each split."""
    quantizer = params["tokenizer"]["quantizer"]
    settings = params["tokenizer"][quantizer]
    size = settings["num_codes"] if "num_codes" in settings else math.prod(settings["levels"])
    run = {"data": params["data"]["name"], "quantizer": quantizer, "codebook_size": f"{size}"}
    run |= {"changes": changes, "train_minutes": f"{metrics['train_minutes']:.2f}"}
    return [
        {**run, "split": split}
        | {name: format(metrics[split][name], form) for name, form in MEASURED.items()}
        for split in SPLITS
    ]


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """Replace old rows by new ones; drop rows of settings not in SETTINGS, and sort like it."""
    replaced = {(row["data"], row["changes"]) for row in new}
    kept = [row for row in old if (row["data"], row["changes"]) not in replaced]
    order = {changes: place for place, changes in enumerate(SETTINGS.values())}
    known = [row for row in [*kept, *new] if row["changes"] in order]
    return sorted(known, key=lambda row: (row["data"], order[row["changes"]]))


def table(found: list[Row]) -> str:
    """Return the table for docs/tokenizers.md: the rows of the test split."""
    if not found:
        return "Not measured yet: `make codebooks` trains the tokenizers and writes this table.\n"
    heads = ["data", "quantizer", "codes", "PSNR", "SSIM", "usage", "perplexity"]
    lines = [f"| {' | '.join(heads)} | set by |", "| --- |" + " --- |" * len(heads)]
    for row in found:
        if row["split"] == "test":
            cells = [row["data"], f"`{row['quantizer']}`", f"{int(row['codebook_size']):,}"]
            cells += [f"{row['psnr']} dB", row["ssim"], f"{float(row['codebook_usage']):.1%}"]
            cells += [f"{float(row['codebook_perplexity']):,.0f}"]
            cells += [" ".join(f"`{change}`" for change in row["changes"].split()[1:])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
