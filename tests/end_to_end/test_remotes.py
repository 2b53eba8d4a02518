"""Results that one machine has pushed are taken over by another, which trains nothing."""

import shutil

import pytest

from tests.checkout import commit, copy_checkout, git, ran, run

NAMES = ("images", "tokenizer", "tokens", "text", "judge", "prior", "samples")


@pytest.fixture
def clone(reproduced, tmp_path):
    """A clone of a checkout that has pushed its results, and an experiment, and is gone."""
    folder, origin = tmp_path / "checkout", str(tmp_path / "origin.git")
    copy_checkout(reproduced.folder, folder)
    run(folder, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    commit(folder, "Add a remote")
    git(folder, "clone", "--quiet", "--bare", ".", origin)
    git(folder, "remote", "add", "origin", origin)
    run(folder, "dvc", "push")
    run(folder, "dvc", "exp", "run", "--name", "guided", "--set-param", "sample.guidance=3")
    run(folder, "dvc", "exp", "push", "origin", "guided")
    shutil.rmtree(folder)
    git(tmp_path, "clone", "--quiet", origin, str(tmp_path / "clone"))
    return tmp_path / "clone"


def test_pulled_results_are_whole_and_nothing_is_run_again(reproduced, clone):
    run(clone, "dvc", "pull")
    for name in NAMES:
        for path in (reproduced.folder / "data" / name).rglob("*"):
            if path.is_file():
                other = clone / path.relative_to(reproduced.folder)
                assert other.read_bytes() == path.read_bytes()
    assert ran(run(clone, "dvc", "repro").stdout) == []
    assert git(clone, "status", "--porcelain") == ""
    run(clone, "python", "-m", "tools.verify")


def test_repro_pulls_what_it_needs(clone):
    assert ran(run(clone, "dvc", "repro", "--pull").stdout) == []
    assert (clone / "data/prior/model.safetensors").is_file()
    assert git(clone, "status", "--porcelain") == ""


def test_pushed_experiment_is_taken_over_and_not_run_again(clone):
    run(clone, "dvc", "exp", "pull", "origin", "guided")
    run(clone, "dvc", "exp", "apply", "guided")
    assert "guidance: 3" in (clone / "params.yaml").read_text()
    assert ran(run(clone, "dvc", "repro", "--pull").stdout) == []
