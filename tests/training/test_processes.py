"""Two processes train as one does on the same batches, with equal weights."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.checkout import environment
from tests.imports import ROOT

# Sums of a batch's halves are rounded differently from sums of the whole; AdamW's steps enlarge the
# difference where a gradient is nearly 0.
TOLERANCE = {"rtol": 1e-4, "atol": 3e-5}


def launch(name, folder, *, count, starter=None, **variables):
    (folder / "run").mkdir(parents=True, exist_ok=True)
    alone = [sys.executable]
    several = [*alone, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    starter = starter or (several if count > 1 else alone)
    done = subprocess.run(
        [*starter, "-m", "tests.training.process", name, str(folder)],
        cwd=ROOT,
        env=environment(folder, PYTHONPATH=f"{ROOT}:{ROOT / 'src'}", **variables),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def made(folder, rank):
    history = json.loads((folder / f"history-{rank}.json").read_text())
    states = {kind: load_file(folder / f"{kind}-{rank}.safetensors") for kind in ("last", "best")}
    return states, history


PRIORS = ("prior", "recurrent_prior", "masked_prior", "cftn_prior")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in PRIORS]


@pytest.fixture(scope="module", params=["tokenizer", *SLOW])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for count in (1, 2):
        launch(request.param, folder / f"{count}", count=count)
    return made(folder / "1", 0), made(folder / "2", 0), made(folder / "2", 1)


def test_processes_agree_bit_for_bit(trained):
    assert_agree(*trained[1:])


def test_processes_with_a_discriminator_agree_bit_for_bit(tmp_path):
    launch("sharpening", tmp_path, count=2)
    assert_agree(made(tmp_path, 0), made(tmp_path, 1))


def assert_agree(*results):
    (first, history), (second, other) = results
    for kind, state in first.items():
        for name, value in state.items():
            assert torch.equal(second[kind][name], value), name
    assert history == other


def test_two_processes_end_as_one_does(trained):
    (expected, curves), (found, history), _ = trained
    for kind, state in expected.items():
        for key, value in state.items():
            torch.testing.assert_close(found[kind][key], value, msg=key, **TOLERANCE)
    assert [step for step, _ in history] == [step for step, _ in curves]
    for (_, values), (_, wanted) in zip(history, curves, strict=True):
        assert values.keys() == wanted.keys()
        for key, value in wanted.items():
            assert values[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
