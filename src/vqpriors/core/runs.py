"""Where a stage keeps what a killed run has done so far, for its next run to go on with."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from vqpriors.core.hardware import processes
from vqpriors.core.params import Params
from vqpriors.core.run_folder import run_folder


@contextmanager
def run_folder_of(stage: str, params: Params) -> Iterator[Path]:
    """Make a stage's run folder, lock it, and remove it if the block succeeds.

    It lies under DVC's root and is named after all that the run depends on, so that another run's
    is never taken up, and outside DVC's outputs, so that DVC does not delete it. It stays where the
    DVC that started the stage is gone, since nobody will take its results: the next run takes them
    up at their end. Of several processes the main one does all that.

    Args:
        stage: The stage's name in dvc.yaml.
        params: Its params.

    Raises:
        ValueError: If another process runs the same stage.
    """
    root = Path(os.environ.get("DVC_ROOT", "."))
    path, place = root / ".runs" / stage / _fingerprint(stage, params), processes()
    if not place.is_main_process:
        place.wait_for_everyone()
        yield path
        return
    dvc = _dvc_process()
    try:
        with run_folder(path, keep=lambda: _dvc_process() != dvc) as folder:
            place.wait_for_everyone()  # the others need it
            yield folder
    finally:
        for empty in (path, *path.parents[:2]):
            with suppress(OSError):
                empty.rmdir()


def _dvc_process() -> tuple[int, float] | None:
    """Identify the DVC that waits for this stage; None where there is none, or no longer."""
    for ancestor in psutil.Process().parents():
        with suppress(psutil.Error):
            if "dvc" in (Path(part).name for part in ancestor.cmdline()[:3]):
                return ancestor.pid, ancestor.create_time()
    return None


def _fingerprint(stage: str, params: Params) -> str:
    """Hash the stage's params, the contents of what it depends on, and the torch that runs it."""
    from dvc.repo import Repo  # here, because it is slow to import and stages can be imported alone

    with Repo() as repo:
        found = repo.stage.load_one(name=os.environ.get("DVC_STAGE", stage))  # pyright: ignore
        deps = [
            dep for dep in found.deps if dep.protocol == "local" and dep.def_path != "params.yaml"
        ]
        # What is missing the stage itself will name, by the param that asks for it where one does.
        contents = {dep.def_path: dep.get_hash().value if dep.exists else None for dep in deps}
    parts = {"params": params.values, "deps": contents, "torch": torch.__version__}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
