"""Flipped bits in artifacts, checkpoints and DVC's cache are found and can be repaired."""

import contextlib
import io
import re
import shutil
import sys

import pytest

from tests.checkout import cached, contents, copy_checkout, environment, flip, ran, run
from tools.verify import main
from vqpriors.core.artifact import new_folder

ARTIFACTS = {
    "data/images": "train-*.parquet",
    "data/tokenizer": "model.safetensors",
    "data/tokens": "train-*.parquet",
    "data/text": "*.json",
    "data/judge": "model.safetensors",
    "data/prior": "last.safetensors",
    "data/samples": "samples.parquet",
}


@pytest.fixture
def checkout(reproduced, tmp_path):
    return copy_checkout(reproduced.folder, tmp_path / "checkout", forget_runs=True)


def verify(folder, *options, fails):
    """Run the tool in this process; return what it prints, lines of stderr if it fails."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            if name.startswith("DVC_"):
                patch.setenv(name, value)
        patch.setattr(sys, "argv", ["verify", *options])
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                main()
            except SystemExit as end:
                code = end.code
    assert (code == 1) == fails, stderr.getvalue()
    return stderr.getvalue().splitlines() if fails else stdout.getvalue()


def test_undamaged_checkout_passes(checkout):
    before = contents(checkout)
    assert re.fullmatch(
        rf"undamaged: {len(ARTIFACTS)} artifacts, 0 checkpoints, \d+ objects\n",
        verify(checkout, fails=False),
    )
    assert contents(checkout) == before


def test_flipped_bit_in_each_artifact_is_reported(checkout):
    damaged = [next(iter(sorted((checkout / a).glob(g)))) for a, g in ARTIFACTS.items()]
    for path in damaged:
        flip(path)
    before = contents(checkout)
    lines = verify(checkout, fails=True)
    assert len(lines) == len(damaged)
    for path, line in zip(damaged, lines, strict=True):
        name = path.relative_to(checkout).as_posix()
        assert line.startswith(f"error: verify: {name}: damaged (its SHA-256 is not"), line
        assert f"run `dvc checkout {path.parent.relative_to(checkout)}`" in line
    assert contents(checkout) == before


def test_missing_manifest_is_damage(checkout):
    (checkout / "data/prior/manifest.json").unlink()
    (line,) = verify(checkout, fails=True)
    assert line.startswith("error: verify: data/prior/manifest.json: missing; remove data/prior")


def test_missing_artifact_is_no_damage(checkout):
    shutil.rmtree(checkout / "data/prior")
    assert f"undamaged: {len(ARTIFACTS) - 1} artifacts" in verify(checkout, fails=False)


def test_artifact_of_another_run_does_not_restore_a_damaged_object(checkout):
    path = cached(checkout, "train_judge", "data/judge", "model.safetensors")
    other = checkout / "data/other"
    with new_folder(other) as folder:
        (folder / "config.json").write_text("{}")
    shutil.rmtree(checkout / "data/judge")
    other.rename(checkout / "data/judge")
    flip(path)
    (line,) = verify(checkout, fails=True)
    assert "`dvc repro`" in line
    assert "dvc commit" not in line


def test_removed_artifact_is_restored_by_checkout(checkout):
    before = contents(checkout / "data")
    flip(checkout / "data/prior/model.safetensors")
    verify(checkout, "--remove", fails=True)
    assert not (checkout / "data/prior").exists()
    run(checkout, "dvc", "checkout", "data/prior")
    assert contents(checkout / "data") == before
    verify(checkout, fails=False)


def test_damaged_object_is_restored_from_its_artifact(checkout):
    path = cached(checkout, "train_judge", "data/judge", "model.safetensors")
    whole = path.read_bytes()
    flip(path)
    status = run(checkout, "dvc", "status").stdout
    assert "up to date" in status, (
        "DVC notices the damage itself, so this check is no longer needed"
    )
    (line,) = verify(checkout, "--remove", fails=True)
    assert f"error: verify: {path.relative_to(checkout)}: damaged" in line
    assert "it is data/judge/" in line  # the best and the last weights may be the same object
    assert "`dvc commit train_judge` from data/judge" in line
    assert not path.exists()
    run(checkout, "dvc", "commit", "train_judge")
    assert path.read_bytes() == whole
    verify(checkout, fails=False)


@pytest.mark.slow
def test_object_damaged_together_with_its_artifact_is_reproduced(checkout):
    name = "test-00000-of-00002.parquet"
    path = cached(checkout, "encode", "data/tokens", name)
    whole = path.read_bytes()
    flip(path)
    flip(checkout / "data/tokens" / name)
    first, second = verify(checkout, "--remove", fails=True)
    assert f"error: verify: data/tokens/{name}: damaged" in first
    assert f"it is data/tokens/{name}" in second
    assert "`dvc repro`" in second
    assert ran(run(checkout, "dvc", "repro").stdout) == ["encode"]
    assert path.read_bytes() == whole
    verify(checkout, fails=False)


def test_object_of_an_earlier_run_is_reported(checkout):
    stray = checkout / ".dvc/cache/files/md5/00" / ("0" * 30)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"codes")
    (line,) = verify(checkout, fails=True)
    assert "it is a file of an experiment or an earlier run; remove it" in line


def test_damaged_checkpoint_is_reported(checkout):
    step = checkout / ".runs/train_prior/0123456789abcdef/step-000000020"
    with new_folder(step) as folder:
        (folder / "progress.json").write_text("{}")
    flip(step / "progress.json")
    (line,) = verify(checkout, "--remove", fails=True)
    assert "step-000000020/progress.json: damaged" in line
    assert "training resumes from the previous checkpoint" in line
    assert not step.exists()


def test_outside_a_repository_it_exits_with_an_error(tmp_path, reproduced):
    lost = tmp_path / "lost"
    lost.mkdir()
    path = f"{reproduced.folder}:{reproduced.folder / 'src'}"
    done = run(lost, "python", "-m", "tools.verify", fails=True, PYTHONPATH=path)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: verify: you are not inside of a DVC repository")
