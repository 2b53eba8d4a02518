"""The copies of metrics that `tools.keep_priors` makes."""

import subprocess

import pytest

from tools import keep_priors


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(keep_priors, "ROOT", tmp_path)

    def git(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet", "--initial-branch=main")
    (tmp_path / "metrics").mkdir()
    return tmp_path, git


def test_old_copies_are_removed_and_files_of_others_are_not(repository):
    root, git = repository
    folder = root / "metrics/reference/digits/lstm"
    (folder / "evaluate").mkdir(parents=True)
    for name in ("evaluate/old.png", "evaluate/größe.png"):
        (folder / name).write_text("old")
    git("add", ".")
    (folder / "notes.txt").write_text("years of work")
    keep_priors.remove_tracked(folder)
    keep_priors.remove_tracked(root / "metrics/reference/digits/absent")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["notes.txt"]


@pytest.mark.parametrize(("precision", "mark"), [("bf16", " with fast bfloat16"), ("no", "")])
def test_a_cpu_with_fast_bfloat16_is_marked(monkeypatch, precision, mark):
    monkeypatch.setattr("vqpriors.core.hardware.resolve_precision", lambda *_: precision)
    monkeypatch.setattr(keep_priors, "_cpus", lambda: "processor : 0\nmodel name\t: Some CPU\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert keep_priors.hardware(is_on_cpu=True) == f"2 x Some CPU{mark}"
