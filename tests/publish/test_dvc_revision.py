"""Parts of another commit or experiment, in a small git and DVC repository without a pipeline."""

import gc
import shutil
import tempfile

import pytest
from dvc.utils.serialize import dump_yaml, load_yaml

from tests.checkout import cached, commit, environment, flip, git, run
from tests.parts import CAPTIONS, make_parts, same
from vqpriors.inference.bundle import PARTS
from vqpriors.inference.generator import Generator

OUTS = [f"data/{part}" for part in PARTS]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A repository with three commits and an experiment, and the pictures of each.

    The commit `empty` has no parts, `first` a transformer and `second`, which is checked out, a
    cftn2. The experiment `guided` is `second` with another guidance.
    """
    folder = tmp_path_factory.mktemp("source") / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "tests")
    git(folder, "config", "user.email", "tests@localhost")
    run(folder, "dvc", "init", "--quiet")
    dump_yaml(str(folder / "dvc.yaml"), {"stages": {"make": {"cmd": "true", "outs": OUTS}}})
    commit(folder, "Start")
    git(folder, "tag", "empty")
    drawn = {}
    for name, arch in (("first", "transformer"), ("second", "cftn2")):
        make_parts(folder / "data", arch)
        run(folder, "dvc", "commit", "--force", "--quiet")
        commit(folder, f"Train a {arch}")
        git(folder, "tag", name)
        drawn[name] = Generator.load(folder / "data")(CAPTIONS)
    make_parts(folder / "data", "cftn2", sample__guidance=9.0)
    drawn["guided"] = Generator.load(folder / "data")(CAPTIONS)
    run(folder, "dvc", "exp", "save", "--quiet", "--name", "guided")
    git(folder, "checkout", "--quiet", "params.yaml")
    return folder, drawn


@pytest.fixture
def repository(source, tmp_path, monkeypatch):
    """A copy of the repository without its data folder, with DVC's own files elsewhere."""
    folder = shutil.copytree(source[0], tmp_path / "checkout", symlinks=True)
    shutil.rmtree(folder / "data")
    for name, value in environment(folder).items():
        if name.startswith(("DVC", "GIT")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("revision", ["first", "second", "HEAD~1", "guided"])
def test_parts_and_settings_are_those_of_the_revision(source, repository, revision):
    before = git(repository, "status", "--porcelain")
    drawn = Generator.load("data", revision)(CAPTIONS)
    assert same(drawn, source[1]["first" if revision == "HEAD~1" else revision])
    assert git(repository, "status", "--porcelain") == before
    assert not (repository / "data").exists()


def test_revisions_differ(source):
    drawn = source[1]
    assert not same(drawn["first"], drawn["second"])
    assert not same(drawn["second"], drawn["guided"])


def test_revision_ignores_the_workspace(source, repository):
    make_parts(repository / "data", "transformer", sample__guidance=5.0)
    assert same(Generator.load(repository / "data", "second")(CAPTIONS), source[1]["second"])


def test_copy_lasts_as_long_as_its_generator(source, repository, tmp_path):
    generator = Generator.load("data", "first")
    folder = generator.folder
    generator.save(tmp_path / "saved")
    assert same(Generator.load(tmp_path / "saved")(CAPTIONS), source[1]["first"])
    assert folder.is_dir()
    del generator
    gc.collect()
    assert not folder.parent.exists()


def test_parts_that_the_cache_lacks_come_from_the_remote(source, repository, tmp_path):
    run(repository, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    run(repository, "dvc", "push", "--all-commits")
    shutil.rmtree(repository / ".dvc/cache")
    commit(repository, "Add a remote")
    assert same(Generator.load("data", "HEAD")(CAPTIONS), source[1]["second"])


def refusal(folder, revision):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        Generator.load(folder, revision)
    return str(caught.value)


def test_unknown_revision_is_named(repository):
    assert refusal("data", "nope").startswith("data: no revision 'nope'; `git log` and `dvc exp")


def test_revision_without_parts_is_named(repository):
    line = "data/tokenizer: not in revision 'empty'; choose one with a finished run"
    assert refusal("data", "empty") == line


@pytest.mark.parametrize("left", ["all", "files", "nothing"])
def test_unavailable_parts_are_named(repository, left):
    if left == "files":  # without the listings of folders
        for path in (repository / ".dvc/cache").rglob("*.dir"):
            path.unlink()
    elif left == "nothing":
        shutil.rmtree(repository / ".dvc/cache")
    else:
        cached(repository, "make", "data/prior", "model.safetensors").unlink()
    part = "prior" if left == "all" else "tokenizer"
    line = refusal("data", "second")
    assert line.startswith(f"data/{part}: of revision 'second', neither in DVC's cache nor in its")
    assert "`dvc fetch --all-commits` or `dvc exp pull`" in line


def test_outdated_params_are_named_by_their_revision(repository):
    params = load_yaml(str(repository / "params.yaml"))
    del params["sample"]["captions"]
    dump_yaml(str(repository / "params.yaml"), params)
    commit(repository, "Forget how to write captions")
    line = refusal("data", "HEAD")
    assert line == "HEAD:params.yaml: no settings of `sample` in it ('captions'); correct it"


def test_refused_revision_leaves_nothing_behind(repository, tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    cached(repository, "make", "data/prior", "model.safetensors").unlink()
    for revision in ("nope", "empty", "second"):
        refusal("data", revision)
    assert not list((tmp_path / "scratch").iterdir())


def test_damage_in_the_cache_is_named(repository):
    flip(cached(repository, "make", "data/tokenizer", "model.safetensors"))
    line = refusal("data", "second")
    assert line.startswith("data/tokenizer/model.safetensors: damaged (its SHA-256 is not the")
    assert line.endswith(
        "in DVC's cache, of revision 'second'; `make verify` says how to restore it"
    )


def test_folder_outside_a_repository_has_no_revisions(tmp_path, monkeypatch):
    make_parts(tmp_path / "data", "transformer")
    line = f"{tmp_path}/data: not in a git and DVC repository, so it has no revisions"
    assert refusal(tmp_path / "data", "HEAD").startswith(line)


def test_repository_without_git_has_no_revisions(tmp_path):
    make_parts(tmp_path / "data", "transformer")
    run(tmp_path, "dvc", "init", "--quiet", "--no-scm")
    line = f"{tmp_path}/data: not in a git and DVC repository, so it has no revisions"
    assert refusal(tmp_path / "data", "HEAD").startswith(line)
