"""The one line that a stage prints for an error."""

import errno

import pytest

import stages

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
        "my pictures (1): new/metadata.csv:12: 3 fields",
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
