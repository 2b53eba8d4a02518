from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.checkout import git, make_checkout, run

torch.set_num_threads(1)  # for tensors so small, and beside others, more threads only wait


@dataclass(frozen=True)
class Reproduced:
    """A checkout after `dvc repro`, committed; for reading and copying only.

    Attributes:
        folder: The checkout.
        stdout: What the run printed.
        left: What git saw afterwards, before the commit: lines of `git status --porcelain`.
    """

    folder: Path
    stdout: str
    left: list[str]


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """The whole chain, run once for all tests."""
    folder = tmp_path_factory.mktemp("reproduced") / "checkout"
    folder.mkdir()
    make_checkout(folder)
    stdout = run(folder, "dvc", "repro").stdout
    left = git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    git(folder, "add", "dvc.lock", "data/.gitignore", "metrics")
    git(folder, "commit", "--quiet", "--message", "Run the chain")
    return Reproduced(folder, stdout, left)
