"""A full disk, a second run and a diverging run: one line, and old artifacts stay unchanged."""

import copy
import pkgutil
import re
import resource
import shutil
import sys
from contextlib import contextmanager

import pytest

from tests.checkout import contents, run, tiny_params
from tests.faults.stage import STAGES, declared_params, error_of, run_stage, value_at
from vqpriors.core.run_folder import run_folder

WRITTEN = {
    "download": "data/images",
    "train_tokenizer": ".runs/",
    "encode": ".runs/encode/",
    "prepare_text": "data/text",
    "train_judge": ".runs/",
    "train_prior": ".runs/",
    "sample": "data/samples",
    "evaluate": "metrics/evaluate/samples.png",
}
PHASES = {
    "train_tokenizer": "tokenizer.vqvae.phases",
    "train_judge": "judge.attributes.phases",
    "train_prior": "prior.transformer.phases",
}
# `make test` runs what differs between stages; trainers share what sets up and ends a run.
SLOW_TRAINED = [
    "train_prior",
    pytest.param("train_tokenizer", marks=pytest.mark.slow),
    pytest.param("train_judge", marks=pytest.mark.slow),
]
SLOW_STAGES = [
    pytest.param(stage, marks=pytest.mark.slow)
    if stage in ("train_tokenizer", "train_judge")
    else stage
    for stage in STAGES
]
# The function that a stage calls once DVC's own files are written; the limit starts there.
SET_UP = dict.fromkeys(PHASES, "vqpriors.training.session.train") | {
    "encode": "stages.encode.read_image_shard"
}


def unchanged(before, after):
    """Whether every file of before is the same after."""
    return {name: after.get(name) for name in before} == before


@contextmanager
def file_limit_restored():
    """Restore the file size limit, before pytest itself writes to a long file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit_files():
    """Limit files to 600 bytes, which stands for a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))


@pytest.mark.parametrize("stage", SLOW_STAGES)
def test_full_disk_leaves_the_old_artifacts_unchanged(checkout, monkeypatch, stage):
    def on_a_full_disk(act):
        def limited(*arguments, **settings):
            limit_files()
            return act(*arguments, **settings)

        return limited

    # Python would cut bytecode files short, and later runs would fail on them.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = contents(checkout)
    with file_limit_restored():
        if stage in SET_UP:
            act = pkgutil.resolve_name(SET_UP[stage])
            monkeypatch.setattr(SET_UP[stage], on_a_full_disk(act))
        else:
            limit_files()
        outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
    assert outcome.code == 1
    *progress, error = outcome.lines
    assert all(": step " in line for line in progress)
    pattern = rf"error: {stage}: {WRITTEN[stage]}\S*: file too large; raise the file size limit .*"
    assert re.fullmatch(pattern, error), error
    assert unchanged(before, contents(checkout))
    assert not list(checkout.glob("*/.tmp-*"))


@pytest.mark.parametrize("stage", ["encode", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_real_command_on_a_full_disk_reports_one_line(checkout, stage):
    before = contents(checkout)
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); "
    started = f"sys.argv = ['{stage}']; runpy.run_module('stages.{stage}', run_name='__main__')"
    done = run(checkout, "python", "-c", limited + started, fails=True)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: {stage}: ")
    assert "--debug" not in done.stderr
    assert contents(checkout) == before


@pytest.mark.parametrize("stage", SLOW_TRAINED)
def test_second_run_at_the_same_time_is_refused(checkout, monkeypatch, stage):
    before = contents(checkout)
    with run_folder(checkout / ".runs" / stage / "of other params"):
        outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
    assert error_of(stage, outcome) == (
        f".runs/{stage}: another process is running this stage; wait for it to end or stop it"
    )
    assert unchanged(before, contents(checkout))


@pytest.mark.parametrize("stage", SLOW_TRAINED)
def test_diverging_run_names_step_term_and_learning_rate(checkout, monkeypatch, stage):
    before = contents(checkout)
    params = declared_params(stage, tiny_params())
    for phase in value_at(params, PHASES[stage]).values():
        phase["lr"] = 1e30
    outcome = run_stage(stage, copy.deepcopy(params), monkeypatch)
    assert outcome.code == 1
    pattern = rf"error: {stage}: step \d+: .*\w+ not finite at learning rate [\d.]+e\+\d+; lower .*"
    assert re.fullmatch(pattern, outcome.lines[-1]), outcome.lines
    assert sum(line.startswith("error:") for line in outcome.lines) == 1
    assert unchanged(before, contents(checkout))


@pytest.mark.parametrize("stage", SLOW_TRAINED)
def test_failure_at_the_very_end_puts_the_metrics_back(checkout, monkeypatch, stage):
    before = contents(checkout)

    def no_space(*_, **__):
        raise OSError(28, "No space left on device", "data/somewhere")

    monkeypatch.setattr(f"stages.{stage}.save_model", no_space)
    outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
    assert outcome.lines[-1] == (
        f"error: {stage}: data/somewhere: no space left on device; "
        "free some disk space and run it again"
    )
    assert unchanged(before, contents(checkout))
    shutil.rmtree(checkout / ".runs")
