"""Write the tables of metrics in README.md, between their markers, from the metrics files."""

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BETWEEN_MARKERS = re.compile(r"(?<=<!-- numbers -->\n).*?(?=<!-- /numbers -->)", re.DOTALL)
BETWEEN_PRIORS = re.compile(r"(?<=<!-- priors -->\n).*?(?=<!-- /priors -->)", re.DOTALL)
STAGES = {"train_tokenizer": "tokenizer", "train_judge": "judge", "train_prior": "prior"}

# Columns of the first table and their folders below metrics/: the default run and a kept one.
RUNS = {"digits": "", "mnist": "reference/mnist/transformer/"}

# Priors compared on each data set; their metrics are in metrics/reference/DATA/PRIOR/.
PRIORS = ("lstm", "transformer", "cftn", "cftn2")
DATA = ("digits", "mnist", "fashion_mnist")

Metrics = dict[str, Any]
Read = Callable[[str], Metrics]

# Metric, its format, its meaning.
ROWS = [
    (
        "psnr",
        "{:.2f} dB",
        "peak signal-to-noise ratio of the tokenizer's reconstructions; higher is better",
    ),
    ("ssim", "{:.3f}", "structural similarity of the tokenizer's reconstructions; 1 is identical"),
    (
        "codebook_usage",
        "{:.1%}",
        "share of the codebook that occurs in the test split; near 0 is a collapse",
    ),
    (
        "codebook_perplexity",
        "{:.1f}",
        "exponential of the code frequencies' entropy: effective number of codes",
    ),
    (
        "nats_per_token",
        "{:.3f}",
        "negative log-likelihood of the test split per code; lower is better",
    ),
    ("nats_standard_error", "{:.4f}", "standard error of `nats_per_token`; 0 if it is exact"),
    ("perplexity", "{:.2f}", "exponential of `nats_per_token`; lower is better"),
    (
        "bits_per_dim",
        "{:.4f}",
        "negative log-likelihood in bits per pixel value; compares priors of one tokenizer",
    ),
    (
        "adherence",
        "{:.1%}",
        "drawn pictures in which the judge recognises every attribute of the caption",
    ),
    ("adherence_seen", "{:.1%}", "adherence for attribute combinations of training pictures"),
    (
        "adherence_unseen",
        "{:.1%}",
        "adherence for attribute combinations that no training picture has",
    ),
    (
        "judge_accuracy",
        "{:.1%}",
        "real test pictures in which the judge recognises every attribute",
    ),
    (
        "judge_accuracy_unseen",
        "{:.1%}",
        "judge accuracy for attribute combinations that no training picture has",
    ),
    ("caption_accuracy", "{:.1%}", "captions written by the prior with every attribute right"),
    ("caption_exact", "{:.1%}", "captions written by the prior that equal the true caption"),
    (
        "frechet_distance",
        "{:.3f}",
        "Frechet distance of drawn to real pictures in the judge's features; lower is better",
    ),
    (
        "kernel_distance",
        "{:.4f}",
        "kernel distance (MMD) of drawn to real pictures in the judge's features; lower is better",
    ),
    (
        "nearest_train_distance",
        "{:.4f}",
        "pixel distance of drawn pictures to the nearest training picture; 0 is a copy",
    ),
    (
        "nearest_train_distance_real",
        "{:.4f}",
        "pixel distance of real test pictures to the nearest training picture",
    ),
    ("images_per_second", "{:.1f}", "pictures drawn per second on the machine of the run"),
]

# Metric, its column's title, its format.
COLUMNS = [
    ("nats_per_token", "nats per token", "{:.3f}"),
    ("adherence", "adherence", "{:.1%}"),
    ("adherence_unseen", "unseen pairs", "{:.1%}"),
    ("caption_accuracy", "captions right", "{:.1%}"),
    ("frechet_distance", "Frechet distance", "{:.2f}"),
    ("images_per_second", "pictures per second", "{:.0f}"),
]


def main() -> None:
    """Write the tables from the metrics of the working tree."""
    text = README.read_text()
    if not BETWEEN_MARKERS.search(text):
        sys.exit("error: readme: README.md has no <!-- numbers --> markers; put them back")
    text = BETWEEN_MARKERS.sub(lambda _: numbers(read_metrics), text)
    README.write_text(BETWEEN_PRIORS.sub(lambda _: leaderboard(read_metrics), text))
    print("README.md: tables written from metrics/")


def numbers(read: Read) -> str:
    """Return the table of the chain's metrics, with a column for each run.

    Args:
        read: Returns the metrics of a stage; {} if it has none.
    """
    runs = {name: _measured(folder, read) for name, folder in RUNS.items()}
    runs = {name: found for name, found in runs.items() if found}
    if not runs:
        return "The chain has not been run and committed yet.\n"
    lines = [
        f"| metric | {' | '.join(runs)} | meaning |",
        "| --- |" + " --- |" * (len(runs) + 1),
    ]
    for name, form, meaning in ROWS:
        values = [form.format(found[name]) if name in found else "-" for found in runs.values()]
        if set(values) != {"-"}:
            lines.append(f"| `{name}` | {' | '.join(values)} | {meaning} |")
    runs_text = [_run(name, found, read) for name, found in runs.items()]
    return "\n".join([*runs_text, "", *lines, ""])


def leaderboard(read: Read) -> str:
    """Return a table of priors for each data set, sorted by Frechet distance.

    Args:
        read: Returns the metrics of a stage; {} if it has none.
    """
    tables = []
    for data in DATA:
        kept = {prior: f"reference/{data}/{prior}" for prior in PRIORS}
        found = {prior: _measured(f"{folder}/", read) for prior, folder in kept.items()}
        found = {prior: metrics for prior, metrics in found.items() if metrics}
        if found:
            training = {prior: read(f"{kept[prior]}/train_prior") for prior in found}
            tables.append("\n".join([f"`{data}`:", "", *_ranked(found, training), ""]))
    return "\n".join(tables)


def _ranked(found: Mapping[str, Metrics], training: Mapping[str, Metrics]) -> list[str]:
    # No column for a metric that the data set does not have, such as unseen pairs.
    columns = [column for column in COLUMNS if any(column[0] in found[name] for name in found)]
    lines = [
        f"| prior | parameters | minutes | {' | '.join(title for _, title, _ in columns)} |",
        "| --- |" + " --- |" * (len(columns) + 2),
    ]
    for name in sorted(found, key=lambda name: found[name].get("frechet_distance", math.inf)):
        cells = [f"`{name}`", f"{training[name]['parameters'] / 1e6:.1f} M"]
        cells.append(f"{training[name]['train_minutes']:.1f}")
        for metric, _, form in columns:
            bound = "<= " if metric == "nats_per_token" and _is_bound(found[name]) else ""
            value = found[name].get(metric)
            cells.append("-" if value is None else bound + form.format(value))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _measured(folder: str, read: Read) -> Metrics:
    """Return the metrics of an evaluated run, with its sampling speed; {} if there is none."""
    found = read(f"{folder}evaluate")
    return {**found, **read(f"{folder}sample")} if found else {}


def _is_bound(metrics: Metrics) -> bool:
    return metrics.get("nats_standard_error", 0) > 0


def read_metrics(stage: str) -> Metrics:
    """Read the metrics of a stage from the working tree; {} if it has none."""
    path = ROOT / "metrics" / stage / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _run(name: str, found: Metrics, read: Read) -> str:
    metrics = {short: read(f"{RUNS[name]}{stage}") for stage, short in STAGES.items()}
    minutes = {short: m["train_minutes"] for short, m in metrics.items() if "train_minutes" in m}
    parts = ", ".join(f"{short} {spent:.1f}" for short, spent in minutes.items())
    size = metrics["prior"].get("parameters", 0) / 1e6
    return (
        f"- `{name}`: {sum(minutes.values()):.1f} minutes of training ({parts}), a prior of "
        f"{size:.1f} million parameters, {found['num_samples']:,} pictures drawn."
    )


if __name__ == "__main__":
    main()
