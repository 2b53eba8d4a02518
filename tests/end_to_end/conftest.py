import shutil

import pytest
import yaml

from tests.checkout import copy_checkout


@pytest.fixture
def untrained(reproduced, tmp_path):
    """A copy in which only the prior is missing, in DVC's cache, too."""
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout", forget_runs=True)
    shutil.rmtree(folder / "data/prior")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["train_prior"]
    digest = next(out["md5"] for out in lock["outs"] if out["path"] == "data/prior")
    (folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
    return folder
