"""The one line that a stage prints for an error."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

import stages
from stages import evaluate
from tests.imports import ROOT

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


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no memory")]
)
def test_out_of_memory_names_the_batch_size(error):
    line = stages._one_line(error, "evaluate")
    assert line == f"evaluate.batch_size: out of memory; lower it ({error})"
    assert stages._one_line(error, "download").startswith(type(error).__name__)
    assert stages._one_line(RuntimeError("shapes"), "evaluate").startswith("RuntimeError: shapes")


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


COPY = ".dvc/tmp/exps/standalone/tmpabc"
RELATIVE = {  # an error, and whether the temporary copy of an experiment explains it
    "data.folder.imagefolder.location: no folder 'my pics (1)'": True,
    "data.folder.imagefolder.location: no folder 'absent'": True,
    "data.x.hub.location: no folder './my pics (1)', and it is not a Hub id; x": True,
    "text.clip.location: could not reach the Hub for 'my/model', and no such folder; x": True,
    "text.clip.location: could not reach the Hub for 'some/model', and no such folder; x": False,
    "data.folder.imagefolder.location: no folder '/data/pics'": False,
    "data.folder.imagefolder.location: no folder '~/pics'": False,
    "data.x.hub.config: no configuration 'big'": False,
    "data/tokens: damaged": False,
}


@pytest.mark.parametrize("message", RELATIVE)
def test_relative_folder_of_a_queued_experiment_is_explained(tmp_path, monkeypatch, message):
    for folder in ("my pics (1)", "my/model", COPY):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert stages._one_line(ValueError(message), "download") == message
    monkeypatch.chdir(tmp_path / COPY)
    line = stages._one_line(ValueError(message), "download")
    assert line.startswith(message)
    fix = "; this experiment runs in a temporary copy of the repository: give an absolute path"
    assert line.startswith(f"{message}{fix}, such as {tmp_path}/") == RELATIVE[message]
    assert (line == message) != RELATIVE[message]


@pytest.mark.parametrize("module", ["tools.verify", "tools.plan", "benchmarks.memory"])
def test_tools_of_a_copy_import_the_code_of_the_copy(tmp_path, module):
    """An installed package would otherwise be imported instead."""
    for name in ("src", "stages", "tools", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "plots_page")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    code = f"import {module}, vqpriors; print(vqpriors.__file__)"
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.stdout == f"{tmp_path}/src/vqpriors/__init__.py\n", done.stderr
