"""Write README.md's tables of numbers, between their markers, from the committed metrics."""

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

# Where each column's metrics lie below metrics/: the default run's, and what was kept of others.
RUNS = {"digits": "", "mnist": "reference/mnist/transformer/"}

# The priors compared on each data set, whose metrics lie below metrics/reference/DATA/PRIOR/.
PRIORS = ("lstm", "transformer", "cftn", "cftn2")
DATA = ("digits", "mnist", "fashion_mnist")

Metrics = dict[str, Any]
Read = Callable[[str], Metrics]

# Metric, how to show it, what it says.
ROWS = [
    ("psnr", "{:.2f} dB", "likeness of the tokenizer's reconstructions; higher is better"),
    ("ssim", "{:.3f}", "the same of local structure; 1 is equal"),
    ("codebook_usage", "{:.1%}", "codes that the test split uses; near 0 is a collapsed codebook"),
    ("codebook_perplexity", "{:.1f}", "codes in use if all were used alike"),
    ("nats_per_token", "{:.3f}", "the prior's surprise at each code of unseen pictures; lower"),
    ("nats_standard_error", "{:.4f}", "of that as an estimate; 0 where it is exact"),
    ("perplexity", "{:.2f}", "its exponential: codes between which the prior hesitates"),
    (
        "bits_per_dim",
        "{:.4f}",
        "the same in bits a pixel value; compares priors, not tokenizers",
    ),
    ("adherence", "{:.1%}", "drawn pictures in which the judge sees all that the caption says"),
    ("adherence_seen", "{:.1%}", "the same for combinations that training pictures show"),
    ("adherence_unseen", "{:.1%}", "the same for combinations that no training picture shows"),
    ("judge_accuracy", "{:.1%}", "the same of real test pictures: the most one can hope for"),
    ("judge_accuracy_unseen", "{:.1%}", "the same of real pictures of unseen combinations"),
    ("caption_accuracy", "{:.1%}", "captions that the prior writes, with every attribute right"),
    ("caption_exact", "{:.1%}", "the same, equal to the picture's own"),
    ("frechet_distance", "{:.3f}", "from drawn to real pictures in the judge's features; lower"),
    ("kernel_distance", "{:.4f}", "the same without assuming normal distributions; lower"),
    ("nearest_train_distance", "{:.4f}", "to the nearest training picture; 0 is a copy"),
    ("nearest_train_distance_real", "{:.4f}", "the same of real test pictures, to compare with"),
    ("images_per_second", "{:.1f}", "pictures drawn a second, on the machine of the run"),
]

# Metric, its short name, how to show it.
COLUMNS = [
    ("nats_per_token", "nats a token", "{:.3f}"),
    ("adherence", "adherence", "{:.1%}"),
    ("adherence_unseen", "unseen pairs", "{:.1%}"),
    ("caption_accuracy", "captions right", "{:.1%}"),
    ("frechet_distance", "Frechet distance", "{:.2f}"),
    ("images_per_second", "pictures a second", "{:.0f}"),
]


def main() -> None:
    """Put the numbers of the working tree's metrics into README.md."""
    text = README.read_text()
    if not BETWEEN_MARKERS.search(text):
        sys.exit("error: readme: README.md has no <!-- numbers --> markers; put them back")
    text = BETWEEN_MARKERS.sub(lambda _: numbers(read_metrics), text)
    README.write_text(BETWEEN_PRIORS.sub(lambda _: leaderboard(read_metrics), text))
    print("README.md: numbers of the metrics here")


def numbers(read: Read) -> str:
    """Return what stands between the markers.

    Args:
        read: Returns a stage's metrics; {} where it has none.
    """
    runs = {name: _measured(folder, read) for name, folder in RUNS.items()}
    runs = {name: found for name, found in runs.items() if found}
    if not runs:
        return "The whole chain has not been run and committed yet.\n"
    lines = [
        f"| metric | {' | '.join(runs)} | what it says |",
        "| --- |" + " --- |" * (len(runs) + 1),
    ]
    for name, form, meaning in ROWS:
        values = [form.format(found[name]) if name in found else "-" for found in runs.values()]
        if set(values) != {"-"}:
            lines.append(f"| `{name}` | {' | '.join(values)} | {meaning} |")
    said = [_run(name, found, read) for name, found in runs.items()]
    return "\n".join([*said, "", *lines, ""])


def leaderboard(read: Read) -> str:
    """Return the priors' tables, one a data set, nearest to real pictures first; as `numbers`."""
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
    # A metric that a data set does not have, such as unseen pairs, has no column.
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
    """Return the metrics of a run that has been evaluated, with its rate of drawing."""
    found = read(f"{folder}evaluate")
    return {**found, **read(f"{folder}sample")} if found else {}


def _is_bound(metrics: Metrics) -> bool:
    return metrics.get("nats_standard_error", 0) > 0


def read_metrics(stage: str) -> Metrics:
    """Read a stage's metrics from the working tree; {} where it has none."""
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
