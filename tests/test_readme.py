"""The tables of README.md match the committed metrics."""

import json
import subprocess

from tests.imports import ROOT
from tools.readme_numbers import (
    BETWEEN_MARKERS,
    BETWEEN_PRIORS,
    COLUMNS,
    ROWS,
    STAGES,
    leaderboard,
    numbers,
    read_metrics,
)

README = (ROOT / "README.md").read_text()


def read_committed(stage):
    """Return the metrics of a stage in the last commit; {} if it has none."""
    command = ["git", "show", f"HEAD:metrics/{stage}/metrics.json"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return json.loads(shown.stdout) if shown.returncode == 0 else {}


def test_table_of_metrics_matches_the_metrics():
    # After a run and before its commit, the table may have the committed metrics or the new ones.
    table = BETWEEN_MARKERS.search(README).group()
    assert table in (numbers(read_committed), numbers(read_metrics))


def test_table_of_priors_matches_the_kept_metrics():
    table = BETWEEN_PRIORS.search(README).group()
    assert table in (leaderboard(read_committed), leaderboard(read_metrics))


def test_priors_are_sorted_by_distance_and_bounds_are_marked():
    training = {"parameters": 2_000_000, "train_minutes": 3.0}
    exact = {name: 0.5 for name, _, _ in COLUMNS} | {"nats_standard_error": 0.0}
    bound = exact | {"nats_standard_error": 0.1, "frechet_distance": 0.25}
    kept = {"transformer/evaluate": exact, "cftn/evaluate": bound}
    kept |= {"transformer/train_prior": training, "cftn/train_prior": training}
    text = leaderboard(lambda stage: kept.get(stage.removeprefix("reference/digits/"), {}))
    title, *_, first, second = text.splitlines()
    assert title == "`digits`:"
    assert first.startswith("| `cftn` | 2.0 M | 3.0 | <= 0.500 | 50.0% |")
    assert second.startswith("| `transformer` | 2.0 M | 3.0 | 0.500 | 50.0% |")


def test_each_data_set_has_a_table_with_its_own_columns():
    training = {"parameters": 2_000_000, "train_minutes": 3.0}
    kept = {
        "reference/digits/lstm/evaluate": {"adherence": 0.5, "adherence_unseen": 0.25},
        "reference/mnist/lstm/evaluate": {"adherence": 0.75},
    }
    text = leaderboard(lambda stage: training if "train" in stage else kept.get(stage, {}))
    digits, mnist = text.split("\n\n`mnist`:\n\n")
    assert "unseen pairs" in digits
    assert "unseen pairs" not in mnist
    assert "| `lstm` | 2.0 M | 3.0 | 75.0% |" in mnist


def run_of(measured, training):
    """Return a function that reads the metrics of the default run."""
    stages = {"evaluate": measured} | dict.fromkeys(STAGES, training)
    return lambda stage: stages.get(stage, {})


def test_table_has_a_row_for_every_metric():
    metrics = {name: 0.5 for name, _, _ in ROWS} | {"num_samples": 1000}
    text = numbers(run_of(metrics, {"train_minutes": 1.5, "parameters": 2_500_000}))
    assert "4.5 minutes of training (tokenizer 1.5, judge 1.5, prior 1.5)" in text
    assert "2.5 million parameters, 1,000 pictures" in text
    assert text.count("\n|") == len(ROWS) + 2
    assert "| `adherence` | 50.0% |" in text


def test_table_leaves_out_missing_metrics():
    text = numbers(run_of({"psnr": 20.0, "num_samples": 3}, {}))
    assert "| `psnr` | 20.00 dB |" in text
    assert "adherence" not in text
    assert "mnist" not in text


def test_table_has_a_column_for_each_run():
    default = run_of({"psnr": 20.0, "ssim": 0.5, "num_samples": 3}, {})
    kept = {"reference/mnist/transformer/evaluate": {"psnr": 30.0, "num_samples": 4}}
    text = numbers(lambda stage: kept.get(stage) or default(stage))
    assert "| metric | digits | mnist | meaning |" in text
    assert "| `psnr` | 20.00 dB | 30.00 dB |" in text
    assert "| `ssim` | 0.500 | - |" in text
