"""Partial results of a killed run are found again only by a run with the same inputs."""

from contextlib import suppress

import pytest
import torch

from tests.checkout import tiny_params
from tests.faults.stage import declared_params
from vqpriors.core.params import Params
from vqpriors.core.runs import run_folder_of

CHANGES = ["data", "code", "params", "torch"]


def killed(params):
    """Leave a partial result, as a run that is killed."""
    with suppress(KeyError), run_folder_of("train_prior", params) as folder:
        (folder / "partial").touch()
        raise KeyError


def found(params):
    """Return the partial results of a run that succeeds."""
    with run_folder_of("train_prior", params) as folder:
        return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_run_does_not_find_the_partial_results_of_a_killed_one(
    checkout, monkeypatch, change
):
    params = tiny_params()
    killed(Params(declared_params("train_prior", params)))
    if change == "data":
        (checkout / "data/tokens/another").write_text("")
    elif change == "code":
        path = checkout / "src/vqpriors/training/loop.py"
        path.write_text(f"{path.read_text()}# An edit.\n")
    elif change == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0")
    else:
        params["prior"]["caption_dropout"] = 0.2
    assert found(Params(declared_params("train_prior", params))) == []


def test_same_run_finds_its_partial_results_once(checkout):
    params = Params(declared_params("train_prior", tiny_params()))
    killed(params)
    assert found(params) == ["partial"]
    assert found(params) == []
    assert not (checkout / ".runs").exists()
