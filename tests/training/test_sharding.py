"""Two processes with FSDP train as one process with the full model."""

import json
import re
import sys

import pytest
import torch
from torch import nn

from tests.tiny import cftn2, lstm, train_config, transformer, vqvae
from tests.training.test_processes import TOLERANCE, launch, made
from vqpriors.training.launch import FSDPSettings, fsdp_settings_from_env, require_supported
from vqpriors.training.sharding import fsdp_units

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
OPTIONS = ["--use_fsdp", "--fsdp_version", "2", "--num_processes", "2", "--num_machines", "1"]
OPTIONS += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", *OPTIONS]
# Orthogonalisation raises small singular values, and rounding errors with them, a hundredfold.
MUON = {"rtol": 1e-3, "atol": 1e-4}
# The callback's weight norm is that of the full model in both cases.
CURVES = {"rel": 1e-3, "abs": 1e-5}


def trained(name, folder, *, count, settings=None, **variables):
    variables |= {"SETTINGS": json.dumps(settings or {}), "CALLBACK": "yes"}
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
    """Return the largest difference between the last weights."""
    last, wanted = found[0]["last"], expected[0]["last"]
    return max(float((last[name] - value).abs().max()) for name, value in wanted.items())


def held(folder, rank):
    return json.loads((folder / f"held-{rank}.json").read_text())


@pytest.mark.slow
def test_model_sharded_by_accelerates_launcher_trains_as_a_full_one(tmp_path):
    settings = {"grad_accum_steps": 2}
    expected = trained("prior", tmp_path / "1", count=1, settings=settings)
    found = trained("prior", tmp_path / "2", count=2, settings=settings, starter=ACCELERATE)
    assert_near(found, expected)
    full = held(tmp_path / "1", 0)
    shards = [held(tmp_path / "2", rank) for rank in (0, 1)]
    for total, first, second in zip(full, *shards, strict=True):
        assert max(first, second) < 0.55 * total
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
def test_sharded_weights_train_as_replicated_ones(tmp_path, name, settings, options, tolerance):
    expected = trained(name, tmp_path / "replicated", count=2, settings=settings)
    found = trained(name, tmp_path / "sharded", count=2, settings=settings, **FSDP | options)
    assert_near(found, expected, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior", "recurrent_prior", "masked_prior"])
def test_sharded_bfloat16_is_as_near_to_replicated_as_that_to_float32(tmp_path, name):
    exact = trained(name, tmp_path / "exact", count=2)
    settings = {"precision": "bf16"}
    replicated = trained(name, tmp_path / "replicated", count=2, settings=settings)
    sharded = trained(name, tmp_path / "sharded", count=2, settings=settings, **FSDP)
    assert distance(replicated, exact) > 0
    assert distance(sharded, replicated) < 2 * distance(replicated, exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [("prior", {"optimizer": "muon"}), ("masked_prior", {})]
)
@pytest.mark.parametrize("fatal", [30, 80])
def test_killed_sharded_run_ends_as_an_uninterrupted_one(tmp_path, name, settings, fatal):
    expected = trained(name, tmp_path / "whole", count=2, settings=settings, **FSDP)
    with pytest.raises(AssertionError, match="Signal 9"):
        trained(name, tmp_path / "cut", count=2, settings=settings, FATAL=f"0:{fatal}", **FSDP)
    assert_same(trained(name, tmp_path / "cut", count=2, settings=settings, **FSDP), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [((2, FSDP), (2, {})), ((2, {}), (2, FSDP)), ((2, FSDP), (1, {}))]
)
def test_checkpoint_resumes_in_a_launch_of_another_kind(tmp_path, before, after):
    expected = trained("prior", tmp_path / "whole", count=2)
    with pytest.raises(AssertionError, match="Signal 9"):
        trained("prior", tmp_path / "cut", count=before[0], FATAL="0:50", **before[1])
    found = trained("prior", tmp_path / "cut", count=after[0], **after[1])
    assert "resumed at step" in found[2]
    assert_near(found, expected)


REFUSED = {
    "DeepSpeed": ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported; use FSDP"),
    "Megatron": ({"ACCELERATE_USE_MEGATRON_LM": "1"}, "Megatron is not supported; use FSDP"),
    "accumulation": (
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS must be 1 or unset, got '4'; set grad_accum_steps",
    ),
    "compilation": (
        {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"},
        "ACCELERATE_DYNAMO_BACKEND must be no or unset, got 'INDUCTOR'; set train.compile instead",
    ),
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
def test_unsupported_launch_is_refused(variables, problem):
    with pytest.raises(ValueError, match=f"^LAUNCH: {re.escape(problem)}"):
        fsdp_settings_from_env(variables)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_DYNAMO_BACKEND": "NO"}, None),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_OFFLOAD_PARAMS": "true"}, None),
        (FSDP, FSDPSettings(reshard_after_forward=True)),
        (FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, FSDPSettings(reshard_after_forward=False)),
        (
            FSDP | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "Block"},
            FSDPSettings(reshard_after_forward=True),
        ),
    ],
)
def test_launch_environment_gives_fsdp_settings(variables, expected):
    assert fsdp_settings_from_env(variables) == expected


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"compile": True}, r"train\.compile"),
        ({"batch_size": "auto"}, r"tiny\.train\.batch_size"),
        ({"precision": "fp16"}, r"train\.precision"),
    ],
)
def test_params_that_exclude_fsdp_are_refused(changes, param):
    require_supported(train_config(), precision="bf16")
    config = train_config(**changes)
    with pytest.raises(ValueError, match=rf"^{param}: .*; set"):
        require_supported(config, precision=config.shared.precision)


class Unit(nn.Module):
    is_fsdp_unit = True


def test_units_are_modules_with_the_attribute_inner_ones_first():
    outer, inner = Unit(), Unit()
    outer.inner = inner
    model = nn.Sequential(nn.Linear(1, 1), outer, nn.Linear(1, 1))
    assert fsdp_units(model) == [inner, outer]


@pytest.mark.parametrize(
    ("make", "expected"), [(transformer, 5), (lstm, 5), (cftn2, 9), (vqvae, 0)]
)
def test_models_have_units(make, expected):
    assert len(fsdp_units(make())) == expected
