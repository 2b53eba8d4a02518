"""Results that one machine has pushed are pulled by another, which trains nothing."""

import shutil

import pytest

from tests.checkout import commit, copy_checkout, git, ran, run

pytestmark = pytest.mark.slow
NAMES = ("images", "tokenizer", "tokens", "text", "judge", "prior", "samples")


@pytest.fixture(scope="module")
def origin(reproduced, tmp_path_factory):
    """The origin of a checkout that has pushed its results and an experiment, and is gone."""
    place = tmp_path_factory.mktemp("remotes")
    folder, origin = place / "checkout", str(place / "origin.git")
    copy_checkout(reproduced.folder, folder)
    run(folder, "dvc", "remote", "add", "--default", "storage", str(place / "storage"))
    commit(folder, "Add a remote")
    git(folder, "clone", "--quiet", "--bare", ".", origin)
    git(folder, "remote", "add", "origin", origin)
    run(folder, "dvc", "push")
    run(folder, "dvc", "exp", "run", "--name", "guided", "--set-param", "sample.guidance=3")
    run(folder, "dvc", "exp", "push", "origin", "guided")
    shutil.rmtree(folder)
    return origin


@pytest.fixture
def clone(origin, tmp_path):
    git(tmp_path, "clone", "--quiet", origin, str(tmp_path / "clone"))
    return tmp_path / "clone"


def test_pulled_results_are_complete_and_nothing_is_run_again(reproduced, clone):
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


def test_pushed_experiment_is_pulled_and_not_run_again(clone):
    run(clone, "dvc", "exp", "pull", "origin", "guided")
    run(clone, "dvc", "exp", "apply", "guided")
    assert "guidance: 3" in (clone / "params.yaml").read_text()
    assert ran(run(clone, "dvc", "repro", "--pull").stdout) == []
