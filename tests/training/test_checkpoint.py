import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.durability import record_flushes_and_renames
from vqpriors.core import artifact
from vqpriors.core.run_folder import run_folder
from vqpriors.training.checkpoint import Checkpoint, Progress, load, save

HOLD_LOCK = """
import sys
from pathlib import Path
from vqpriors.core.run_folder import run_folder
with run_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def checkpoint(step, **progress):
    states = {"model": {"w": torch.tensor([0.1, step])}, "averaged": {}, "best": {}}
    optimizer = {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": [{"lr": 0.1}]}
    return Checkpoint(Progress(step=step, **progress), states, optimizer, {"scale": 2.0})


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_exact(tmp_path):
    history = [(1, {"train/loss": 0.1 + 0.2}), (2, {"validation/loss": 1e-300})]
    written = checkpoint(7, phase=1, epoch=2, batch=3, best=1 / 3, history=history, seconds=0.7)
    save(tmp_path, written)
    found = load(tmp_path)
    assert found.progress == written.progress
    assert torch.equal(found.states["model"]["w"], written.states["model"]["w"])
    assert found.states["best"] == {}
    assert found.optimizer == written.optimizer
    assert found.scaler == {"scale": 2.0}


def test_newest_two_are_kept(tmp_path):
    for step in (9, 10, 100):
        save(tmp_path, checkpoint(step))
    assert names(tmp_path) == ["step-000000010", "step-000000100"]
    assert load(tmp_path).progress.step == 100


def test_checkpoint_is_on_disk_before_it_gets_its_name_and_an_older_one_is_removed(
    tmp_path, monkeypatch
):
    for step in (1, 2):
        save(tmp_path, checkpoint(step))
    events, remove = record_flushes_and_renames(monkeypatch), shutil.rmtree

    def removed(path, **options):
        events.extend([("remove", str(path))] * Path(path).exists())
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", removed)
    save(tmp_path, checkpoint(3))
    files = sorted(path.name for path in (tmp_path / "step-000000003").iterdir())
    assert len(files) == 6  # three states, optimizer, progress, manifest
    renamed = [kind for kind, _ in events].index("rename")
    temporary = events[renamed][1]
    flushed = {path for kind, path in events[:renamed] if kind == "flush"}
    assert flushed >= {temporary, *(f"{temporary}/{name}" for name in files)}
    after = [("flush", str(tmp_path)), ("remove", str(tmp_path / "step-000000001"))]
    assert events[renamed + 1 :] == after


def test_older_checkpoints_stay_if_the_new_one_is_not_written_intact(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, checkpoint(step))
    replace = artifact._replace

    def replace_on_a_bad_disk(temporary, path):
        replace(temporary, path)
        damage(path / "model.safetensors")

    monkeypatch.setattr(artifact, "_replace", replace_on_a_bad_disk)
    with pytest.raises(ValueError, match=r"step-000000003/model\.safetensors: damaged"):
        save(tmp_path, checkpoint(3))
    assert names(tmp_path) == [f"step-00000000{step}" for step in (1, 2, 3)]


def test_same_step_is_replaced(tmp_path):
    save(tmp_path, checkpoint(9))
    save(tmp_path, checkpoint(9, phase=1))
    assert names(tmp_path) == ["step-000000009"]
    assert load(tmp_path).progress.phase == 1


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    leftover = tmp_path / f".tmp-step-000000005-{'0' * 32}"
    leftover.mkdir()
    save(tmp_path, checkpoint(9))
    assert names(tmp_path) == ["step-000000009"]


def test_no_checkpoint_is_none(tmp_path):
    assert load(tmp_path) is None
    assert load(tmp_path / "absent") is None


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "progress.json"])
def test_damaged_newest_falls_back_to_the_previous_one(tmp_path, file):
    save(tmp_path, checkpoint(1))
    save(tmp_path, checkpoint(2))
    damage(tmp_path / "step-000000002" / file)
    with pytest.warns(UserWarning, match=rf"step-000000002/{file}: damaged.*; trying the"):
        assert load(tmp_path).progress.step == 1


def test_damaged_checkpoints_only_are_an_error(tmp_path):
    save(tmp_path, checkpoint(1))
    damage(tmp_path / "step-000000001" / "model.safetensors")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(
            ValueError, match="all checkpoints are damaged; remove the folder to start over"
        ),
    ):
        load(tmp_path)


def test_progress_is_readable_json(tmp_path):
    save(tmp_path, checkpoint(1, best=0.5))
    values = json.loads((tmp_path / "step-000000001" / "progress.json").read_text())
    assert (values["step"], values["best"]) == (1, 0.5)


def test_run_folder_refuses_a_second_process(tmp_path):
    path = tmp_path / "stage" / "run"
    command = [sys.executable, "-c", HOLD_LOCK, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": "src"}
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(ValueError, match="another process is running this stage"),
            run_folder(path),
        ):
            pass
        holder.communicate()
    with run_folder(path):
        pass


def test_run_folder_is_removed_on_success_and_kept_otherwise(tmp_path):
    path = tmp_path / "stage" / "run"

    def fail():
        with run_folder(path) as folder:
            (folder / "kept").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (path / "kept").exists()
    with run_folder(path) as folder:
        assert (folder / "kept").exists()
    assert not path.exists()
