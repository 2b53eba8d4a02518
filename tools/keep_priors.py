"""Keep the metrics of experiments with each prior, for README.md, in metrics/reference/DATA/PRIOR.

Takes the newest experiment of each prior on the current commit; `make priors` makes them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import dvc.api

ROOT = Path(__file__).resolve().parents[1]
KEPT = (
    "evaluate/metrics.json",
    "evaluate/steps.tsv",
    "sample/samples.png",
    "sample/edits.png",
    "train_prior/metrics.json",
    "train_judge/metrics.json",
    "train_tokenizer/metrics.json",
)
CURVES = "train_prior/plots/metrics/{}/loss.tsv"


def main() -> None:
    """Copy what is kept out of the experiments' commits."""
    rows = [row for row in dvc.api.exp_show() if row.get("typ") in ("branch_base", "branch_commit")]
    newest = {}
    for row in sorted(rows, key=lambda row: str(row["Created"])):
        newest[row["data.name"], row["prior.arch"]] = row["rev"]
    if not newest:
        sys.exit("error: keep_priors: no experiments on this commit; run `make priors`")
    for (data, prior), revision in newest.items():
        folder = ROOT / "metrics" / "reference" / data / prior
        shutil.rmtree(folder, ignore_errors=True)
        for name in (*KEPT, *(CURVES.format(split) for split in ("train", "validation"))):
            _copy(revision, name, folder / name.replace("plots/metrics/", ""))
        print(f"{folder.relative_to(ROOT)}: {revision[:7]}")


def _copy(revision: str, name: str, target: Path) -> None:
    shown = subprocess.run(
        ["git", "show", f"{revision}:metrics/{name}"], cwd=ROOT, check=True, capture_output=True
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(shown.stdout)


if __name__ == "__main__":
    main()
