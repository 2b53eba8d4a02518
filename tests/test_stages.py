"""The one line that a stage prints for an error."""

import errno

import pytest
from PIL import Image

import stages
from stages import evaluate

DEBUG = "; run `python -m stages.encode --debug` for the traceback"


@pytest.mark.parametrize(
    "message",
    [
        "seed: input should be a valid integer, got 'x'",
        "prior.train.phases.warm up.epochs: missing from params.yaml",
        "data/tokens/train-00000-of-00001.parquet: damaged",
        "pictures/metadata.jsonl:3: not a JSON object",
        "data/my images: damaged; restore it with `dvc checkout`",
        "DVC's state: locked; try again",
    ],
)
def test_message_that_names_a_param_or_file_is_printed_unchanged(message):
    assert stages._one_line(ValueError(message), "encode") == message


@pytest.mark.parametrize(
    "message", ["math domain error", "einsum(): no operands", "Expected one of: x, y", ": empty"]
)
def test_other_errors_are_printed_with_their_type_and_a_hint_to_debug(message):
    assert stages._one_line(ValueError(message), "encode") == f"ValueError: {message}{DEBUG}"
    assert stages._one_line(KeyError("seed: x"), "encode") == f"KeyError: 'seed: x'{DEBUG}"


def test_error_of_the_system_names_file_and_fix():
    line = stages._one_line(OSError(errno.ENOENT, "", "data/text"), "encode")
    assert (
        line == "data/text: no such file or directory; run the stage that writes it (`dvc repro`)"
    )
    line = stages._one_line(OSError(errno.ENOSPC, ""), "encode")
    assert (
        line == "a file of encode: no space left on device; free some disk space and run it again"
    )


def test_evaluate_removes_what_its_killed_runs_left(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "FOLDER", tmp_path)
    for name in ("edits.png", "metrics.json"):  # this run draws no sheet of edits
        (tmp_path / f".tmp-{'a' * 32}-{name}").touch()
    (tmp_path / "old.png").touch()
    evaluate._write({"psnr": 1.0}, {}, {"samples": Image.new("RGB", (1, 1))})
    assert {path.name for path in tmp_path.iterdir()} == {"old.png", "samples.png", "metrics.json"}
