"""The committed leaderboard and what writes it."""

import csv
import json

from tools.reference import COLUMNS, LEADERBOARD, REFERENCE, rows


def keep(reference, data, prior, *, distance=None):
    evaluate = {"psnr": 27.681, "nats_per_token": 1.95789, "judge": "0123abc"}
    if distance is not None:
        evaluate["frechet_distance"] = distance
    files = {
        "run.json": {
            "text": "bert",
            "split": "test",
            "hardware": "1 x a GPU",
            "commit": "abc1234",
        },
        "evaluate/metrics.json": evaluate,
        "sample/metrics.json": {"images_per_second": 12.34},
        "train_prior/metrics.json": {"parameters": 2_193_056, "train_minutes": 16.05},
    }
    for name, values in files.items():
        path = reference / data / prior / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def test_rows_are_sorted_by_distance_within_a_data_set(tmp_path):
    keep(tmp_path, "digits", "lstm")
    keep(tmp_path, "digits", "cftn", distance=3.0)
    keep(tmp_path, "digits", "transformer", distance=12.0)
    keep(tmp_path, "cats", "lstm", distance=99.0)
    found = [(row["data"], row["prior"]) for row in rows(tmp_path)]
    assert found == [
        ("cats", "lstm"),
        ("digits", "cftn"),
        ("digits", "transformer"),
        ("digits", "lstm"),
    ]


def test_row_has_metrics_and_run(tmp_path):
    keep(tmp_path, "digits", "cftn", distance=3.0)
    assert rows(tmp_path) == [
        {
            "data": "digits",
            "prior": "cftn",
            "text": "bert",
            "parameters": "2193056",
            "psnr": "27.68",
            "nats_per_token": "1.9579",
            "frechet_distance": "3.000",
            "images_per_second": "12.3",
            "train_minutes": "16.1",
            "judge": "0123abc",
            "hardware": "1 x a GPU",
            "commit": "abc1234",
        }
    ]


def test_committed_leaderboard_matches_the_kept_metrics():
    with LEADERBOARD.open(newline="") as file:
        reader = csv.DictReader(file)
        kept = [{name: value for name, value in row.items() if value} for row in reader]
    assert kept == rows(REFERENCE)
    assert reader.fieldnames == COLUMNS
