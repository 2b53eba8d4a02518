"""Write the tables of metrics in README.md and docs/, between their markers."""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.ranking import rank

ROOT = Path(__file__).resolve().parents[1]
STAGES = {"train_tokenizer": "tokenizer", "train_judge": "judge", "train_prior": "prior"}

# Columns of the first table and their folders below metrics/: the default run and a kept one.
RUNS = {"digits": "", "mnist": "reference/mnist/transformer/"}

# Priors compared on each data set; their metrics are in metrics/reference/DATA/PRIOR/.
PRIORS = ("lstm", "transformer", "cftn", "cftn2")
SHOWN = {"README.md": ("digits",), "docs/priors.md": ("mnist", "fashion_mnist", "emoji_laptop")}

Metrics = dict[str, Any]
Read = Callable[[str], Metrics]

# Metric, its format, its meaning. A standard error (NAME_se) and the value of real pictures via the
# tokenizer (NAME_real) stand in the same cell.
ROWS = [
    ("psnr", "{:.2f} dB", "peak signal-to-noise ratio of the tokenizer's reconstructions"),
    ("ssim", "{:.3f}", "structural similarity of the reconstructions; 1 is identical"),
    (
        "codebook_usage",
        "{:.1%}",
        "share of the codebook that occurs in the split, so it depends on the split's size",
    ),
    ("codebook_perplexity", "{:.1f}", "effective number of codes: exponential of their entropy"),
    ("nats_per_token", "{:.3f}", "negative log-likelihood per code; lower is better"),
    ("perplexity", "{:.2f}", "exponential of `nats_per_token`"),
    (
        "conformity",
        "{:.1%}",
        "share of drawn pictures that are as near to training pictures of their class as 9 of 10 "
        "real pictures",
    ),
    ("conformity_worst", "{:.1%}", "conformity of the worst class"),
    (
        "coverage",
        "{:.1%}",
        "share of real pictures with a drawn one among their 5 nearest neighbours",
    ),
    (
        "recall",
        "{:.1%}",
        "share of real pictures that are as near to a drawn one as its 5th nearest drawn neighbour",
    ),
    ("frechet_distance", "{:.3f}", "Frechet distance of drawn to real pictures; lower is better"),
    ("kernel_distance", "{:.4f}", "kernel distance (MMD), unbiased; 0 for equal distributions"),
    (
        "adherence",
        "{:.1%}",
        "share of drawn pictures in which the judge finds every attribute asked for",
    ),
    ("adherence_worst", "{:.1%}", "adherence of the worst class"),
    (
        "adherence_unseen",
        "{:.1%}",
        "adherence for pairs of attributes that no training picture has",
    ),
    (
        "judge_accuracy",
        "{:.1%}",
        "share of real pictures in which the judge is right about every attribute",
    ),
    ("r_precision", "{:.1%}", "drawn pictures that fit their own caption best of 100"),
    ("variety", "{:.3f}", "pixel distance of two drawn pictures of one caption"),
    ("distinct_grids", "{:.1%}", "share of pairs of pictures of one caption whose codes differ"),
    ("caption_accuracy", "{:.1%}", "captions written by the prior with every attribute right"),
    ("caption_exact", "{:.1%}", "captions written by the prior that equal the true caption"),
    (
        "nearest_train_distance",
        "{:.4f}",
        "pixel distance to the nearest training picture, via the tokenizer; 0 is a copy",
    ),
    ("nearest_train_distance_low", "{:.4f}", "5% quantile of the same distance"),
    ("images_per_second", "{:.1f}", "pictures drawn per second on the machine of the run"),
]

# Metrics that say nothing without the value of real pictures: not shown where it is missing.
NEED_FLOOR = (
    "conformity",
    "coverage",
    "recall",
    "frechet_distance",
    "kernel_distance",
    "nearest_train_distance",
)

# Metric, its column's title, its format.
COLUMNS = [
    ("nats_per_token", "nats per token", "{:.3f}"),
    ("frechet_distance", "Frechet distance", "{:.2f}"),
    ("conformity", "conformity", "{:.1%}"),
    ("conformity_worst", "worst class", "{:.1%}"),
    ("coverage", "coverage", "{:.1%}"),
    ("adherence", "adherence", "{:.1%}"),
    ("adherence_unseen", "unseen pairs", "{:.1%}"),
    ("r_precision", "R-precision", "{:.1%}"),
    ("caption_accuracy", "captions right", "{:.1%}"),
    ("images_per_second", "pictures per second", "{:.0f}"),
]


def main() -> None:
    """Write the tables from the metrics of the working tree."""
    description = (__doc__ or "").partition("\n")[0]
    argparse.ArgumentParser("python -m tools.readme_numbers", description=description).parse_args()
    for (page, name), table in tables(read_metrics).items():
        path = ROOT / page
        if table_in(path, name) is None:
            sys.exit(f"error: readme: {page} has no <!-- {name} --> markers; put them back")
        path.write_text(between(name).sub(lambda _, new=table: new, path.read_text()))
    print("README.md and docs/: tables written from metrics/")


def tables(read: Read) -> dict[tuple[str, str], str]:
    """Return the tables by page and name of their markers.

    Args:
        read: Returns the metrics of a stage; {} if it has none.
    """
    found = {(page, "priors"): leaderboard(read, data) for page, data in SHOWN.items()}
    return found | {("docs/metrics.md", "numbers"): numbers(read)}


def between(name: str) -> re.Pattern[str]:
    """Return a pattern of what stands between the markers of a table."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


def table_in(path: Path, name: str) -> str | None:
    """Return what stands between the markers of a table on a page."""
    found = between(name).search(path.read_text())
    return None if found is None else found.group()


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
        values = [cell(found, name, form) for found in runs.values()]
        if set(values) != {"-"}:
            lines.append(f"| `{name}` | {' | '.join(values)} | {meaning} |")
    runs_text = [_run(name, found, read) for name, found in runs.items()]
    return "\n".join([*runs_text, "", *lines, ""])


def leaderboard(read: Read, data_sets: Sequence[str]) -> str:
    """Return a table of priors for each data set, sorted by Frechet distance.

    Args:
        read: Returns the metrics of a stage; {} if it has none.
        data_sets: Names of data sets with kept runs.
    """
    parts = []
    for data in data_sets:
        kept = {prior: f"reference/{data}/{prior}" for prior in PRIORS}
        found = {prior: _measured(f"{folder}/", read) for prior, folder in kept.items()}
        found = {prior: metrics for prior, metrics in found.items() if metrics}
        if found:
            training = {prior: read(f"{kept[prior]}/train_prior") for prior in found}
            parts.append("\n".join([f"`{data}`:", "", *_ranked(found, training), ""]))
    return "\n".join(parts)


def _ranked(found: Mapping[str, Metrics], training: Mapping[str, Metrics]) -> list[str]:
    # No column for a metric that the data set does not have, such as unseen pairs.
    columns = [
        column for column in COLUMNS if any(_is_shown(found[name], column[0]) for name in found)
    ]
    lines = [
        f"| prior | rank | parameters | minutes | {' | '.join(title for _, title, _ in columns)} |",
        "| --- |" + " --- |" * (len(columns) + 3),
    ]
    for name in sorted(found, key=lambda name: found[name].get("frechet_distance", math.inf)):
        shown = _is_shown(found[name], "frechet_distance")
        cells = [f"`{name}`", rank(found[name], list(found.values())) if shown else "-"]
        cells.append(f"{training[name]['parameters'] / 1e6:.1f} M")
        cells.append(f"{training[name]['train_minutes']:.1f}")
        for metric, _, form in columns:
            cells.append(cell(found[name], metric, form))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _is_shown(metrics: Mapping[str, Any], name: str) -> bool:
    return name in metrics and (name not in NEED_FLOOR or f"{name}_real" in metrics)


def cell(metrics: Mapping[str, Any], name: str, form: str) -> str:
    """Return a value with its error and that of real pictures; "<=" if a bound, "-" if missing."""
    if not _is_shown(metrics, name):
        return "-"
    is_bound = name == "nats_per_token" and "nats_bound_se" in metrics
    text = ("<= " if is_bound else "") + form.format(metrics[name])
    if name.endswith("_worst"):
        text += f" ({metrics[f'{name}_class']})"
    if f"{name}_se" in metrics:
        text += f" ± {form.format(metrics[f'{name}_se'])}"
    if f"{name}_real" in metrics:
        text += f" (real: {form.format(metrics[f'{name}_real'])})"
    return text


def _measured(folder: str, read: Read) -> Metrics:
    """Return the metrics of an evaluated run, with its sampling speed; {} if there is none."""
    found = read(f"{folder}evaluate")
    return {**found, **read(f"{folder}sample")} if found else {}


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
