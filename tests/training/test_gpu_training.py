"""Training on CUDA devices: resuming, and two processes; skipped without them."""

import pytest
import torch

from tests.training.test_processes import launch, made
from tests.training.test_resume import (
    KilledError,
    attempt,
    masked_prior_run,
    prior_run,
    sharpening_run,
    tokenizer_run,
)
from vqpriors.core.hardware import DEVICE_VARIABLE

pytestmark = pytest.mark.gpu
RUNS = {"tokenizer": tokenizer_run, "sharpening": sharpening_run, "prior": prior_run}
RUNS |= {"masked prior": masked_prior_run}
# Sums on a GPU are in no fixed order, and AdamW enlarges differences of gradients near 0.
TOLERANCE = {"rtol": 1e-2, "atol": 1e-3}


def needs(count):
    return pytest.mark.skipif(
        torch.cuda.device_count() < count, reason=f"fewer than {count} CUDA devices"
    )


@needs(1)
@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("killed_in", "calls"), [("log", 4), ("batch", 10)])
def test_resumed_run_is_near_an_uninterrupted_one(tmp_path, capsys, kind, killed_in, calls):
    model, expected, logged, _ = attempt(RUNS[kind], tmp_path / "whole")
    assert next(model.parameters()).is_cuda
    with pytest.raises(KilledError):
        attempt(RUNS[kind], tmp_path / "cut", killed_in=killed_in, calls=calls)
    _, found, relogged, _ = attempt(RUNS[kind], tmp_path / "cut")
    assert "resumed at step" in "".join(capsys.readouterr())
    assert [step for step, _ in relogged] == [step for step, _ in logged][-len(relogged) :]
    for name, value in expected.last.items():
        torch.testing.assert_close(found.last[name], value, msg=name, **TOLERANCE)


@needs(2)
@pytest.mark.parametrize("kind", ["tokenizer", "prior", "masked_prior", "cftn_prior"])
def test_two_processes_end_near_one(tmp_path, kind):
    for count in (1, 2):
        launch(kind, tmp_path / f"{count}", count=count, **{DEVICE_VARIABLE: "cuda"})
    (expected, _), (found, _) = made(tmp_path / "1", 0), made(tmp_path / "2", 0)
    for name, value in expected["last"].items():
        torch.testing.assert_close(found["last"][name], value, msg=name, **TOLERANCE)
