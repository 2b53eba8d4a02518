"""Every param a stage reads, wrong in every way: one line that names it, and nothing changed."""

import copy
import math
import shutil
import sys

import pytest

from tests.checkout import contents, copy_unlocked, run, tiny_params
from tests.faults.stage import (
    STAGES,
    declared_params,
    error_of,
    leaves,
    run_stage,
    section_at,
    sections,
    value_at,
    with_choice,
)
from vqpriors.core.params import read_params
from vqpriors.core.registry import kind_names

CHOOSERS = {
    "tokenizer.arch": ("train_tokenizer", "vqpriors.tokenizer"),
    "tokenizer.quantizer": ("train_tokenizer", "vqpriors.quantizers"),
    "text.encoder": ("prepare_text", "vqpriors.text"),
    "prior.arch": ("train_prior", "vqpriors.priors"),
    "data.digits.source": ("download", "vqpriors.sources"),
}
FREE = ("phases", "weights", "options")  # mappings whose keys are the user's
FREE_KEYS = {"judge", "data", "tokenizer", "prior", "text"}  # DVC hands over their parts


def variants():
    """Return the params of every stage, for every kind that it can be told to use."""
    tiny = tiny_params()
    found = [(stage, declared_params(stage, tiny)) for stage in STAGES]
    for chooser, (stage, package) in CHOOSERS.items():
        if chooser != "data.digits.source":
            chosen = [with_choice(chooser, kind) for kind in kind_names(package)]
            found.extend((stage, declared_params(stage, params)) for params in chosen)
    for name, section in tiny["data"].items():
        if "source" in section:
            found.append(("download", declared_params("download", with_choice("data.name", name))))
    return found


def cases():
    """Return each leaf of each stage once, with params of the stage that hold it."""
    seen = {}
    for stage, params in variants():
        for key, value in leaves(params):
            seen.setdefault((stage, key), (params, value))
    return [
        pytest.param(stage, params, key, value, id=f"{stage}-{key}")
        for (stage, key), (params, value) in seen.items()
    ]


def section_cases():
    """Return each section of each stage once, with params of the stage that hold it."""
    seen = {}
    for stage, params in variants():
        for key in sections(params):
            if not key.endswith(FREE) and key not in FREE_KEYS:
                seen.setdefault((stage, key), params)
    return [pytest.param(s, params, key, id=f"{s}-{key}") for (s, key), params in seen.items()]


def wrong(key, value):
    """Return a value that no param of that value's type can have."""
    if isinstance(value, str) or value is None or ".options." in key:
        return [7]
    return "many"


def named_as(key):
    """Return how an error about a key may start: a model does not know which phase it is in."""
    if ".options." not in key:
        return (f"{key}:",)
    return (f"{key}:", f"{key}.", f"{key[: key.index('.phases.')]}.phases: ")


@pytest.fixture(scope="module")
def checkout(reproduced, tmp_path_factory):
    return copy_unlocked(reproduced.folder, tmp_path_factory.mktemp("params") / "checkout")


@pytest.fixture(scope="module")
def before(checkout):
    return contents(checkout)


@pytest.fixture
def refusal(checkout, before, reproduced, monkeypatch):
    """Run a stage on changed params; return its one line once the files are seen to be the same."""
    monkeypatch.chdir(checkout)

    def run_refused(stage, params):
        outcome = run_stage(stage, params, monkeypatch)
        if (after := contents(checkout)) != before:  # or the next test would fail, too
            shutil.rmtree(checkout)
            copy_unlocked(reproduced.folder, checkout)
        line = error_of(stage, outcome)
        assert after == before
        return line

    return run_refused


@pytest.mark.parametrize(("stage", "params", "key", "value"), cases())
def test_value_of_another_type_is_refused_by_name(refusal, stage, params, key, value):
    params = copy.deepcopy(params)
    section, last = section_at(params, key)
    section[last] = wrong(key, value)
    assert refusal(stage, params).startswith((f"{key}:", f"{key}."))


@pytest.mark.parametrize(
    ("stage", "params", "key", "value"),
    [
        c
        for c in cases()
        if isinstance(c.values[3], int | float) and c.values[3] not in (True, False)
    ],
)
def test_number_out_of_range_is_refused_by_name(refusal, stage, params, key, value):
    for bad in [-1] if isinstance(value, int) else [-1.0, math.inf, math.nan]:
        changed = copy.deepcopy(params)
        section, last = section_at(changed, key)
        section[last] = bad
        assert refusal(stage, changed).startswith(named_as(key))


@pytest.mark.parametrize(
    ("stage", "params", "key", "value"),
    [c for c in cases() if not any(f".{name}." in c.values[2] for name in FREE[1:])],
)
def test_missing_key_is_named(refusal, stage, params, key, value):
    params = copy.deepcopy(params)
    section, last = section_at(params, key)
    del section[last]
    line = refusal(stage, params)
    is_data_set = stage == "download" and key.count(".") == 2 and last == "source"
    assert line.startswith("data.name:" if is_data_set else f"{key}: missing from params.yaml")


@pytest.mark.parametrize(("stage", "params", "key"), section_cases())
def test_unknown_key_is_named(refusal, stage, params, key):
    params = copy.deepcopy(params)
    value_at(params, key)["no_such_key"] = 1
    assert refusal(stage, params).startswith(f"{key}.no_such_key: unknown key")


@pytest.mark.parametrize(
    ("stage", "key", "bad"),
    [
        ("download", "seed", -1),
        ("download", "data.decoding.max_bad_share", 1.5),
        ("download", "data.digits.image.size", 0),
        ("download", "data.digits.image.channels", 2),
        ("download", "data.digits.image.resize", "squash"),
        ("download", "data.digits.splits.test", "train"),
        ("train_tokenizer", "tokenizer.vqvae.stride", 3),
        ("train_tokenizer", "tokenizer.vqvae.stride", 8),
        ("train_tokenizer", "tokenizer.vqvae.phases", {}),
        ("train_tokenizer", "tokenizer.ema.num_codes", 65537),
        ("train_tokenizer", "tokenizer.ema.decay", 1.0),
        ("train_tokenizer", "tokenizer.train.betas", [0.9]),
        ("train_tokenizer", "tokenizer.train.betas", [0.9, 1.0]),
        ("train_tokenizer", "train.precision", "fp8"),
        ("encode", "encode.batch_size", 0),
        ("prepare_text", "text.wordpiece.max_length", 1),
        ("train_judge", "judge.network.width", 12),
        ("train_judge", "judge.network.depth", 7),
        ("train_prior", "prior.caption_dropout", 1.01),
        ("train_prior", "prior.transformer.heads", 3),
        ("train_prior", "prior.transformer.dropout", 1.0),
        ("train_prior", "prior.train.ema_decay", 1.0),
        ("sample", "sample.num_prompts", 0),
        ("sample", "sample.prompts", [1]),
        ("sample", "sample.sheet_temperatures", []),
        ("sample", "sample.sheet_temperatures", [0.0]),
        ("sample", "sample.autoregressive.temperature", 0.0),
        ("sample", "sample.autoregressive.top_p", 1.5),
        ("sample", "sample.compared_steps", [0]),
        ("sample", "sample.captions.temperature", -0.1),
        ("sample", "sample.maskgit.order", "spiral"),
        ("sample", "sample.maskgit.guidance_schedule", "rising"),
        ("sample", "sample.maskgit.remask", 1.0),
        ("evaluate", "evaluate.batch_size", 0),
        ("evaluate", "evaluate.bound_samples", 1),
    ],
)
def test_value_out_of_range_is_refused_by_name(refusal, stage, key, bad):
    params = declared_params(stage, tiny_params())
    section, last = section_at(params, key)
    section[last] = bad
    assert refusal(stage, params).startswith(key.removesuffix(".test"))


@pytest.mark.parametrize(
    ("name", "wrong_part", "key"),
    [
        ("frozen", ["no_such_module"], "no_such_module"),
        ("weights", {"no_such_loss": 2.0}, "no_such_loss"),
        ("options", {"no_such_option": True}, "no_such_option"),
        ("options", {"quantize": "maybe"}, "quantize"),
    ],
)
def test_phase_of_what_the_model_lacks_is_refused_by_name(refusal, name, wrong_part, key):
    params = declared_params("train_tokenizer", tiny_params())
    value_at(params, "tokenizer.vqvae.phases.warm_up")[name] = wrong_part
    assert key in refusal("train_tokenizer", params)


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_unknown_kind_lists_the_kinds_there_are(refusal, chooser):
    stage, package = CHOOSERS[chooser]
    params = declared_params(stage, tiny_params())
    section, last = section_at(params, chooser)
    chosen = section[last]
    section[last] = "no_such_kind"
    if last == "source":
        section["no_such_kind"] = section.pop(chosen)
    line = refusal(stage, params)
    assert line.startswith(f"{chooser}: no kind 'no_such_kind'; choose one of ")
    assert all(kind in line for kind in kind_names(package))


@pytest.mark.parametrize("name", ["mnist", "naruto"])
def test_unreachable_hub_is_told_with_a_way_out(refusal, name):
    params = declared_params("download", with_choice("data.name", name))
    params["data"][name]["hub"]["location"] = "no-such-owner/no-such-set"
    assert refusal("download", params).startswith(f"data.{name}.hub.location: ")


def test_folder_that_is_missing_is_named(refusal):
    params = declared_params("download", with_choice("data.name", "folder"))
    params["data"]["folder"]["imagefolder"]["location"] = "no_such_folder"
    line = refusal("download", params)
    assert line.startswith("data.folder.imagefolder.location: ")
    assert "no_such_folder" in line


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("clip_norm: 1e-4", "train.clip_norm", 0.0001),
        ("clip_norm: 2e1", "train.clip_norm", 20.0),
        ("precision: no", "train.precision", "no"),
    ],
)
def test_stages_see_the_value_that_dvc_records(checkout, monkeypatch, written, key, expected):
    monkeypatch.chdir(checkout)
    path = checkout / "params.yaml"
    text = path.read_text()
    *sections_above, name = key.split(".")
    start = 0
    for section in sections_above:
        start = text.index(f"{section}:\n", start)
    line = next(part for part in text[start:].splitlines() if part.strip().startswith(f"{name}:"))
    path.write_text(text[:start] + text[start:].replace(line.strip(), written, 1))
    try:
        value = read_params("train_prior").raw(key)
    finally:
        path.write_text(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("stage", "old", "new", "problem"),
    [
        ("train_prior", "seed: 3", "seed: [3", "params.yaml"),
        ("train_prior", "seed: 3", "seed: 3\nseed: 4", "params.yaml"),
        ("train_prior", "  arch: transformer\n", "", "prior.arch"),
        ("train_prior", "  arch: transformer", "  arch: {a: 1}", "prior"),
        ("train_prior", "  arch: transformer", "  arch:", "prior.arch"),
        ("train_prior", "  arch: transformer", "  arch: no_such_kind", "prior.arch"),
        ("train_prior", "  caption_dropout: 0.1", "  caption_dropout: a lot", "caption_dropout"),
    ],
)
def test_real_command_reports_one_line(checkout, stage, old, new, problem):
    path = checkout / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    before = contents(checkout)
    try:
        done = run(checkout, "python", "-m", f"stages.{stage}", fails=True)
        assert contents(checkout) == before
    finally:
        path.write_text(text)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"error: {stage}: ")
    assert problem in lines[0]
    assert "--debug" not in lines[0]
    assert done.returncode == 1


def test_debug_shows_the_traceback(checkout):
    command = [sys.executable, "-m", "stages.train_prior", "--debug"]
    text = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(
        text.replace("caption_dropout: 0.1", "caption_dropout: 2")
    )
    try:
        done = run(checkout, *command, fails=True)
    finally:
        (checkout / "params.yaml").write_text(text)
    assert "Traceback (most recent call last)" in done.stderr
    assert "prior.caption_dropout" in done.stderr.splitlines()[-1]
