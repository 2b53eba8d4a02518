"""Two processes that share out a model by FSDP train as one does that holds all of it."""

import json
import re
import sys

import pytest
import torch

from tests.training.test_processes import TOLERANCE, launch, made
from vqpriors.training.launch import Request, requested, require_supported

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
OPTIONS = ["--use_fsdp", "--fsdp_version", "2", "--num_processes", "2", "--num_machines", "1"]
OPTIONS += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", *OPTIONS]
# Orthogonalising raises small singular values, and with them what was rounded, a hundredfold.
MUON = {"rtol": 1e-3, "atol": 1e-4}
# The weights' size at an end of an epoch, as both see it, is that of all of them.
CURVES = {"rel": 1e-3, "abs": 1e-5}


def trained(name, folder, *, count, settings=None, **variables):
    variables |= {"SETTINGS": json.dumps(settings or {}), "LOOKS": "yes"}
    done = launch(name, folder, count=count, **variables)
    return *made(folder, 0), done.stderr


def assert_near(found, expected, tolerance=TOLERANCE):
    for kind, state in expected[0].items():
        assert found[0][kind].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(found[0][kind][name], value, msg=name, **tolerance)
    assert [step for step, _ in found[1]] == [step for step, _ in expected[1]]
    for (_, values), (_, wanted) in zip(found[1], expected[1], strict=True):
        assert values == pytest.approx(wanted, **CURVES)


def assert_same(found, expected):
    for kind, state in expected[0].items():
        assert found[0][kind].keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(found[0][kind][name], value), name
    assert found[1] == expected[1]


def distance(found, expected):
    """Return how far the last weights are apart, at most."""
    last, wanted = found[0]["last"], expected[0]["last"]
    return max(float((last[name] - value).abs().max()) for name, value in wanted.items())


def held(folder, rank):
    return json.loads((folder / f"held-{rank}.json").read_text())


def test_model_shared_out_by_accelerates_launcher_trains_as_a_whole_one(tmp_path):
    settings = {"grad_accum_steps": 2}
    expected = trained("prior", tmp_path / "1", count=1, settings=settings)
    found = trained("prior", tmp_path / "2", count=2, settings=settings, starter=ACCELERATE)
    assert_near(found, expected)
    wholes = held(tmp_path / "1", 0)
    parts = [held(tmp_path / "2", rank) for rank in (0, 1)]
    for whole, first, second in zip(wholes, *parts, strict=True):
        assert max(first, second) < 0.55 * whole
    assert made(tmp_path / "2", 1)[0] == {"last": {}, "best": {}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "options", "tolerance"),
    [
        ("prior", {"batch_size": 4}, {}, TOLERANCE),  # 2 and 1 passes over the validation split
        ("prior", {"optimizer": "muon"}, {"FSDP_RESHARD_AFTER_FORWARD": "false"}, MUON),
        ("recurrent_prior", {}, {}, TOLERANCE),
        ("masked_prior", {}, {}, TOLERANCE),
        ("masked_prior", {"optimizer": "muon", "grad_accum_steps": 1}, {}, MUON),
    ],
)
def test_parts_train_as_copies_do(tmp_path, name, settings, options, tolerance):
    expected = trained(name, tmp_path / "copies", count=2, settings=settings)
    found = trained(name, tmp_path / "parts", count=2, settings=settings, **FSDP | options)
    assert_near(found, expected, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior", "recurrent_prior", "masked_prior"])
def test_parts_in_bfloat16_are_as_near_to_copies_as_those_to_float32(tmp_path, name):
    exact = trained(name, tmp_path / "exact", count=2)
    settings = {"precision": "bf16"}
    copies = trained(name, tmp_path / "copies", count=2, settings=settings)
    parts = trained(name, tmp_path / "parts", count=2, settings=settings, **FSDP)
    assert distance(copies, exact) > 0
    assert distance(parts, copies) < 2 * distance(copies, exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [("prior", {"optimizer": "muon"}), ("masked_prior", {})]
)
@pytest.mark.parametrize("fatal", [30, 80])
def test_killed_parts_end_as_undisturbed_ones(tmp_path, name, settings, fatal):
    expected = trained(name, tmp_path / "whole", count=2, settings=settings, **FSDP)
    with pytest.raises(AssertionError, match="Signal 9"):
        trained(name, tmp_path / "cut", count=2, settings=settings, FATAL=f"0:{fatal}", **FSDP)
    assert_same(trained(name, tmp_path / "cut", count=2, settings=settings, **FSDP), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [((2, FSDP), (2, {})), ((2, {}), (2, FSDP)), ((2, FSDP), (1, {}))]
)
def test_checkpoint_goes_on_in_a_launch_of_another_kind(tmp_path, before, after):
    expected = trained("prior", tmp_path / "whole", count=2)
    with pytest.raises(AssertionError, match="Signal 9"):
        trained("prior", tmp_path / "cut", count=before[0], FATAL="0:50", **before[1])
    found = trained("prior", tmp_path / "cut", count=after[0], **after[1])
    assert "resumed at step" in found[2]
    assert_near(found, expected)


REFUSED = {
    "DeepSpeed": ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported; use FSDP"),
    "Megatron": ({"ACCELERATE_USE_MEGATRON_LM": "1"}, "Megatron is not supported; use FSDP"),
    "version 1": (
        {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"},
        "FSDP version 1 is not supported; add --fsdp_version 2",
    ),
    "no version": ({"ACCELERATE_USE_FSDP": "true"}, "FSDP version 1 is not supported; add"),
    "offloading": (
        FSDP | {"FSDP_OFFLOAD_PARAMS": "true"},
        "FSDP_OFFLOAD_PARAMS must be false with FSDP here, got 'true'; change it in accelerate's",
    ),
    "other layers": (
        FSDP | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "Tower"},
        "FSDP_TRANSFORMER_CLS_TO_WRAP must be block with FSDP here, got 'Tower'; change it",
    ),
    "layers left out": (
        FSDP | {"FSDP_IGNORED_MODULES": "head"},
        "FSDP_IGNORED_MODULES must be unset with FSDP here, got 'head'; change it",
    ),
}


@pytest.mark.parametrize(("variables", "problem"), REFUSED.values(), ids=REFUSED)
def test_launch_that_asks_in_vain_is_refused(variables, problem):
    with pytest.raises(ValueError, match=f"^LAUNCH: {re.escape(problem)}"):
        requested(variables)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_OFFLOAD_PARAMS": "true"}, None),
        (FSDP, Request(reshard_after_forward=True)),
        (FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, Request(reshard_after_forward=False)),
        (FSDP | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "Block"}, Request(reshard_after_forward=True)),
    ],
)
def test_launch_says_whether_to_share_out(variables, expected):
    assert requested(variables) == expected


SUPPORTED = {"is_compiled": False, "batch_size": 8, "precision": "bf16"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"is_compiled": True}, "compile"),
        ({"batch_size": "auto"}, "batch_size"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_params_that_do_not_go_with_parts_are_refused(changes, param):
    require_supported(**SUPPORTED)
    with pytest.raises(ValueError, match=rf"^train\.{param}: .*; (set|give)"):
        require_supported(**SUPPORTED | changes)
