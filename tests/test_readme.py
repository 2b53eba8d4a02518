"""The tables of README.md and docs/ match the committed metrics."""

import json
import subprocess

import pytest

from tests.imports import ROOT
from tools.readme_numbers import (
    COLUMNS,
    NEED_FLOOR,
    ROWS,
    STAGES,
    leaderboard,
    numbers,
    read_metrics,
    table_in,
    tables,
)


def read_committed(stage):
    """Return the metrics of a stage in the last commit; {} if it has none."""
    command = ["git", "show", f"HEAD:metrics/{stage}/metrics.json"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return json.loads(shown.stdout) if shown.returncode == 0 else {}


@pytest.mark.parametrize("place", tables(read_metrics))
def test_tables_match_the_metrics(place):
    # After a run and before its commit, a table may have the committed metrics or the new ones.
    page, name = place
    expected = [tables(read)[place] for read in (read_committed, read_metrics)]
    assert table_in(ROOT / page, name) in expected


TRAINING = {"parameters": 2_000_000, "train_minutes": 3.0}


def measured(distance, **changes):
    """Return the metrics of a run with errors and floors."""
    metrics = {name: 0.5 for name, _, _ in COLUMNS} | {"conformity_worst_class": "eight"}
    metrics |= {f"{name}_real": 0.25 for name in NEED_FLOOR}
    metrics |= {"frechet_distance": distance, "frechet_distance_se": 0.1}
    return metrics | {"judge": "a", "num_compared": 100} | changes


def reading(kept):
    """Return a function that reads the metrics of kept runs."""
    return lambda stage: TRAINING if "train" in stage else kept.get(stage, {})


def table_of(runs, data="digits"):
    """Return the rows of the table of priors."""
    kept = {f"reference/{data}/{prior}/evaluate": metrics for prior, metrics in runs.items()}
    text = leaderboard(reading(kept), [data])
    assert text.startswith(f"`{data}`:")
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_priors_are_sorted_by_distance_and_bounds_are_marked():
    runs = {"transformer": measured(2.0), "cftn": measured(1.0, nats_bound_se=0.1)}
    first, second = table_of(runs)
    assert first.startswith("| `cftn` | 1 | 2.0 M | 3.0 | <= 0.500 | 1.00 ± 0.10 (real: 0.25) |")
    assert second.startswith("| `transformer` | 2 | 2.0 M | 3.0 | 0.500 | 2.00 ± 0.10 (real: 0.25)")
    assert "| 50.0% (eight) |" in first


def test_ranks_differ_only_beyond_the_error():
    runs = {"lstm": measured(1.0), "cftn": measured(1.2), "transformer": measured(1.5)}
    assert [row.split(" | ")[1] for row in table_of(runs)] == ["1", "1", "3"]


def test_runs_of_other_judges_and_counts_are_not_ranked_together():
    runs = {
        "lstm": measured(1.0),
        "cftn": measured(5.0, judge="b"),
        "transformer": measured(6.0, num_compared=50),
    }
    assert [row.split(" | ")[1] for row in table_of(runs)] == ["1", "1", "1"]


def test_numbers_without_their_floor_are_not_shown():
    runs = {"lstm": {"adherence": 0.5, "frechet_distance": 1.0, "conformity": 0.9}}
    assert table_of(runs) == ["| `lstm` | - | 2.0 M | 3.0 | 50.0% |"]


def test_each_data_set_has_a_table_with_its_own_columns():
    kept = {
        "reference/digits/lstm/evaluate": {"adherence": 0.5, "adherence_unseen": 0.25},
        "reference/mnist/lstm/evaluate": {"adherence": 0.75},
    }
    text = leaderboard(reading(kept), ["digits", "mnist"])
    digits, mnist = text.split("\n\n`mnist`:\n\n")
    assert "unseen pairs" in digits
    assert "unseen pairs" not in mnist
    assert "| `lstm` | - | 2.0 M | 3.0 | 75.0% |" in mnist


def run_of(measured, training):
    """Return a function that reads the metrics of the default run."""
    stages = {"evaluate": measured} | dict.fromkeys(STAGES, training)
    return lambda stage: stages.get(stage, {})


def test_table_has_a_row_for_every_metric():
    metrics = {name: 0.5 for name, _, _ in ROWS} | {"num_samples": 1000}
    metrics |= {f"{name}_real": 0.25 for name in NEED_FLOOR} | {"adherence_se": 0.01}
    metrics |= {"conformity_worst_class": "eight", "adherence_worst_class": "two"}
    text = numbers(run_of(metrics, {"train_minutes": 1.5, "parameters": 2_500_000}))
    assert "4.5 minutes of training (tokenizer 1.5, judge 1.5, prior 1.5)" in text
    assert "2.5 million parameters, 1,000 pictures" in text
    assert text.count("\n|") == len(ROWS) + 2
    assert "| `adherence` | 50.0% ± 1.0% |" in text
    assert "| `recall` | 50.0% (real: 25.0%) |" in text


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
