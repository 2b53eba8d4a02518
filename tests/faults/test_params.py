"""Params that are missing, unknown or wrong: one line names the key, and no file changes.

Every value is checked against the schema of its section, without a stage. That a stage checks each
section and each single param that it reads is shown by one wrong value each, through the stage's
command line.
"""

import copy
import math
import re
import shutil

import pytest

from tests.checkout import contents, copy_unlocked, run, tiny_params
from tests.core.test_params import SCHEMAS, VALUES
from tests.faults.stage import (
    STAGES,
    declared_params,
    error_of,
    leaves,
    run_stage,
    section_at,
    sections,
    set_at,
    value_at,
    with_choice,
)
from vqpriors.core.params import check, read_params
from vqpriors.core.registry import kind_names

CHOOSERS = {
    "tokenizer.arch": ("train_tokenizer", "vqpriors.tokenizer"),
    "tokenizer.quantizer": ("train_tokenizer", "vqpriors.quantizers"),
    "text.encoder": ("prepare_text", "vqpriors.text"),
    "prior.arch": ("train_prior", "vqpriors.priors"),
    "data.digits.source": ("download", "vqpriors.sources"),
}
SINGLE = [  # params that are read outside a section, and a value that each can't have
    *((stage, "seed", -1) for stage in STAGES if "seed" in STAGES[stage]["params"]),
    *((stage, chooser, [7]) for chooser, (stage, _) in CHOOSERS.items()),
    ("download", "data.name", [7]),
    ("train_prior", "prior.caption_dropout", 1.01),
    ("train_prior", "prior.preview_epochs", 0),
    ("sample", "evaluate.split", "train"),
    ("train_judge", "judge.kind", [7]),
]
FREE = ("phases", "weights", "options")  # mappings whose keys are the user's


def variants():
    """Return the params of every stage, for every kind that they can choose."""
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


def stage_sections():
    """Return each section that a stage reads once, with params of the stage that hold it."""
    seen = {}
    for stage, params in variants():
        keys = {*sections(params)}
        # a section of which a stage reads one param only
        keys -= {key.rpartition(".")[0] for owner, key, _ in SINGLE if owner == stage}
        for path in SCHEMAS:
            if path in keys:
                seen.setdefault((stage, path), params)
    return [pytest.param(*row, params, id="-".join(row)) for row, params in seen.items()]


def is_free(key):
    """Whether a key lies in a mapping whose keys are the user's, of any range."""
    return any(f".{name}." in f".{key}" for name in FREE[1:])


def wrong_values(key, value):
    """Yield values that a param can't have: of another type and, for a number, out of range."""
    if isinstance(value, str) or value is None or ".options." in key:
        yield [7]
    else:
        yield "many"
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_free(key):
        yield from [-1] if isinstance(value, int) else [-1.0, math.inf, math.nan]


@pytest.fixture(scope="module")
def checkout(reproduced, tmp_path_factory):
    return copy_unlocked(reproduced.folder, tmp_path_factory.mktemp("params") / "checkout")


@pytest.fixture(scope="module")
def before(checkout):
    return contents(checkout)


@pytest.fixture
def refusal(checkout, before, reproduced, monkeypatch):
    """Run a stage on changed params; return its error after a check that no file changed."""
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


def assert_refused(path, values, key, problem=""):
    """Check a section's values, expecting one line that names the key and the problem."""
    line = rf"^{re.escape(key)}[:.]{problem}[^\n]*\Z"
    with pytest.raises(ValueError, match=line):
        check(path, values, SCHEMAS[path][0])


@pytest.mark.parametrize("path", SCHEMAS)
def test_section_refuses_each_wrong_value_by_name(path):
    values = {k: v for k, v in value_at(VALUES, path).items() if k not in SCHEMAS[path][1]}
    for key, value in leaves(values):
        for wrong in wrong_values(key, value):
            assert_refused(path, set_at(values, key, wrong), f"{path}.{key}")


@pytest.mark.parametrize("path", SCHEMAS)
def test_section_names_each_missing_and_each_unknown_key(path):
    values = {k: v for k, v in value_at(VALUES, path).items() if k not in SCHEMAS[path][1]}
    for key, _ in leaves(values):
        if not is_free(key):
            changed = copy.deepcopy(values)
            section, last = section_at(changed, key)
            del section[last]
            assert_refused(path, changed, f"{path}.{key}", " missing from params.yaml")
    for key in ["", *sections(values)]:
        if not key.endswith(FREE):
            unknown = f"{key}.no_such_key".removeprefix(".")
            changed = set_at(values, unknown, 1)
            assert_refused(path, changed, f"{path}.{unknown}", " unknown key")


def test_every_declared_param_is_in_a_section_or_single():
    single = {(stage, key) for stage, key, _ in SINGLE}
    for stage, params in variants():
        for key, _ in leaves(params):
            is_checked = (
                key.endswith(".source")  # a single param of each data set
                or (stage, key) in single
                or any(f"{key}.".startswith(f"{path}.") for path in SCHEMAS)
            )
            assert is_checked, f"{stage}: {key}"


@pytest.mark.parametrize(("stage", "path", "params"), stage_sections())
def test_stage_checks_each_section_that_it_reads(refusal, stage, path, params):
    changed = set_at(params, f"{path}.no_such_key", 1)
    assert refusal(stage, changed).startswith(f"{path}.no_such_key: unknown key")


@pytest.mark.parametrize(("stage", "key", "wrong"), SINGLE)
def test_stage_checks_each_single_param_that_it_reads(refusal, stage, key, wrong):
    params = set_at(declared_params(stage, tiny_params()), key, wrong)
    assert refusal(stage, params).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("stage", "key"), [("train_prior", "prior.caption_dropout"), ("sample", "sample.maskgit")]
)
def test_missing_param_is_named(refusal, stage, key):
    params = declared_params(stage, tiny_params())
    section, last = section_at(params, key)
    del section[last]
    assert refusal(stage, params).startswith(f"{key}: missing from params.yaml")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("data.decoding.max_bad_share", 1.5),
        ("data.digits.image.size", 0),
        ("data.digits.image.channels", 2),
        ("data.digits.image.resize", "squash"),
        ("data.digits.splits.test", "train"),
        ("tokenizer.vqvae.phases", {}),
        ("tokenizer.ema.num_codes", 65537),
        ("tokenizer.ema.decay", 1.0),
        ("tokenizer.train.betas", [0.9]),
        ("tokenizer.train.betas", [0.9, 1.0]),
        ("train.precision", "fp8"),
        ("encode.batch_size", 0),
        ("text.wordpiece.max_length", 1),
        ("judge.attributes.width", 12),
        ("judge.attributes.depth", 7),
        ("prior.transformer.dropout", 1.0),
        ("prior.train.ema_decay", 1.0),
        ("sample.num_prompts", 0),
        ("sample.prompts", [1]),
        ("sample.sheet_temperatures", []),
        ("sample.sheet_temperatures", [-0.1]),
        ("sample.autoregressive.temperature", -0.1),
        ("sample.autoregressive.top_p", 1.5),
        ("sample.compared_steps", [0]),
        ("sample.captions.temperature", -0.1),
        ("sample.maskgit.order", "spiral"),
        ("sample.maskgit.guidance_schedule", "rising"),
        ("sample.maskgit.remask", 1.0),
        ("evaluate.batch_size", 0),
        ("evaluate.bound_samples", 1),
    ],
)
def test_section_refuses_value_out_of_range_by_name(key, wrong):
    path = max((path for path in SCHEMAS if key.startswith(f"{path}.")), key=len)
    values = value_at(set_at(VALUES, key, wrong), path)
    values = {k: v for k, v in values.items() if k not in SCHEMAS[path][1]}
    assert_refused(path, values, key.removesuffix(".test"))


@pytest.mark.parametrize(
    ("stage", "key", "wrong"),
    [
        ("train_tokenizer", "tokenizer.vqvae.stride", 3),
        ("train_tokenizer", "tokenizer.vqvae.stride", 8),
        ("train_prior", "prior.transformer.heads", 3),
    ],
)
def test_value_that_does_not_fit_another_is_refused_by_name(refusal, stage, key, wrong):
    assert refusal(stage, set_at(declared_params(stage, tiny_params()), key, wrong)).startswith(key)


@pytest.mark.parametrize(
    ("name", "wrong_part", "key"),
    [
        ("frozen", ["no_such_module"], "no_such_module"),
        ("weights", {"no_such_loss": 2.0}, "no_such_loss"),
        ("options", {"no_such_option": True}, "no_such_option"),
        ("options", {"quantize": "maybe"}, "quantize"),
    ],
)
def test_phase_that_does_not_fit_the_model_is_refused_by_name(refusal, name, wrong_part, key):
    params = declared_params("train_tokenizer", tiny_params())
    value_at(params, "tokenizer.vqvae.phases.warm_up")[name] = wrong_part
    assert key in refusal("train_tokenizer", params)


def test_shares_of_a_phase_are_checked_by_their_prior(refusal):
    params = declared_params("train_prior", with_choice("prior.arch", "cftn2"))
    value_at(params, "prior.cftn2.phases.both_ways.options")["caption_share"] = -1.0
    assert refusal("train_prior", params).startswith("prior.cftn2.phases: shares must be ")


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_unknown_kind_lists_the_kinds(refusal, chooser):
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


def test_unreachable_hub_is_named_with_a_fix(refusal):
    params = declared_params("download", with_choice("data.name", "naruto"))
    params["data"]["naruto"]["hub"]["location"] = "no-such-owner/no-such-set"
    assert refusal("download", params).startswith("data.naruto.hub.location: ")


def test_missing_picture_folder_is_named(refusal):
    params = declared_params("download", with_choice("data.name", "folder"))
    params["data"]["folder"]["imagefolder"]["location"] = "no_such_folder"
    line = refusal("download", params)
    assert line.startswith("data.folder.imagefolder.location: ")
    assert "no_such_folder" in line


@pytest.fixture
def edit(checkout, monkeypatch):
    """Replace a text in params.yaml until the test ends."""
    monkeypatch.chdir(checkout)
    path = checkout / "params.yaml"
    text = path.read_text()

    def replace(old, new):
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    yield replace
    path.write_text(text)


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("clip_norm: 1e-4", "train.clip_norm", 0.0001),
        ("clip_norm: 2e1", "train.clip_norm", 20.0),
        ("precision: no", "train.precision", "no"),
    ],
)
def test_stages_read_the_value_that_dvc_records(edit, checkout, written, key, expected):
    top, *_, name = key.split(".")
    section = (checkout / "params.yaml").read_text().partition(f"\n{top}:\n")[2]
    line = re.search(rf"^ +{name}: .*$", section, re.MULTILINE)
    indent = "  " * key.count(".")
    edit(section, section[: line.start()] + indent + written + section[line.end() :])
    value = read_params("train_prior").raw(key)
    assert value == expected
    assert type(value) is type(expected)


UNREADABLE = [
    ("seed: 3", "seed: [3", "params.yaml"),
    ("seed: 3", "seed: 3\nseed: 4", "params.yaml"),
    ("  arch: transformer\n", "", "prior.arch"),
    ("  arch: transformer", "  arch: {a: 1}", "prior"),
    ("  arch: transformer", "  arch:", "prior.arch"),
    ("  arch: transformer", "  arch: no_such_kind", "prior.arch"),
    ("  caption_dropout: 0.1", "  caption_dropout: a lot", "caption_dropout"),
]


@pytest.mark.parametrize(("old", "new", "problem"), UNREADABLE)
def test_params_that_dvc_can_not_give_are_refused_in_one_line(
    edit, checkout, monkeypatch, old, new, problem
):
    edit(old, new)
    before = contents(checkout)
    outcome = run_stage("train_prior", None, monkeypatch)
    assert contents(checkout) == before
    assert outcome.code == 1
    assert len(outcome.lines) == 1, outcome.lines
    assert outcome.lines[0].startswith("error: train_prior: ")
    assert problem in outcome.lines[0]
    assert "--debug" not in outcome.lines[0]


def test_real_command_reports_one_line_and_with_debug_the_traceback(edit, checkout):
    edit("  caption_dropout: 0.1", "  caption_dropout: 2")
    before = contents(checkout)
    done = run(checkout, "python", "-m", "stages.train_prior", fails=True)
    assert contents(checkout) == before
    assert done.returncode == 1
    assert re.fullmatch(r"error: train_prior: prior\.caption_dropout: [^\n]+\n", done.stderr), (
        done.stderr
    )
    done = run(checkout, "python", "-m", "stages.train_prior", "--debug", fails=True)
    assert "Traceback (most recent call last)" in done.stderr
    assert "prior.caption_dropout" in done.stderr.splitlines()[-1]
