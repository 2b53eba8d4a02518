import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.checkout import copy_unlocked, git, make_checkout, run
from vqpriors.core.hardware import DEVICE_VARIABLE

torch.set_num_threads(1)  # more threads would slow down operations on such small tensors
os.environ.setdefault(DEVICE_VARIABLE, "cpu")  # so that results are the same with a GPU


@pytest.fixture(autouse=True)
def device_of_gpu_tests(request, monkeypatch):
    """Let tests marked `gpu` use the GPU."""
    if request.node.get_closest_marker("gpu"):
        monkeypatch.setenv(DEVICE_VARIABLE, "cuda")


@dataclass(frozen=True)
class Reproduced:
    """A checkout after `dvc repro`, committed; for reading and copying only.

    Attributes:
        folder: The checkout.
        stdout: Output of the run.
        left: Git's view of it before the commit: lines of `git status --porcelain`.
    """

    folder: Path
    stdout: str
    left: list[str]


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory, worker_id):
    """The whole chain, run once and shared by all of pytest's processes."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "reproduced"
    shared.mkdir(exist_ok=True)
    folder, output = shared / "checkout", shared / "output.json"
    with FileLock(shared / "lock"):
        if not output.exists():  # this process is the first, or the ones before it failed
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            output.write_text(json.dumps(_reproduce(folder)))
    return Reproduced(folder, **json.loads(output.read_text()))


@pytest.fixture
def checkout(reproduced, tmp_path, monkeypatch):
    """A copy of the checkout after the chain, without dvc.lock, as the working directory."""
    folder = copy_unlocked(reproduced.folder, tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


def _reproduce(folder):
    make_checkout(folder)
    stdout = run(folder, "dvc", "repro").stdout
    left = git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    git(folder, "add", "dvc.lock", "data/.gitignore", "metrics")
    git(folder, "commit", "--quiet", "--message", "Run the chain")
    return {"stdout": stdout, "left": left}
