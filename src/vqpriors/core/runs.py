"""Run folders: partial results from which a stage resumes after it was killed."""

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
    """Create and lock a stage's run folder, and remove it if the block succeeds.

    The folder is named after a hash of all inputs of the run, so that a run continues only from its
    own partial results. It lies outside DVC's outputs, which DVC deletes before a stage. It is kept
    if the DVC process that started the stage has died, since DVC will not record the outputs; the
    next run then continues from the finished state. With several processes, the main one creates
    and removes it.

    Args:
        stage: The stage's name in dvc.yaml.
        params: The stage's params.

    Raises:
        ValueError: If another process runs the same stage.
    """
    root = Path(os.environ.get("DVC_ROOT", "."))
    path, state = root / ".runs" / stage / _fingerprint(stage, params), processes()
    if not state.is_main_process:
        state.wait_for_everyone()
        yield path
        return
    dvc = _dvc_process()
    try:
        with run_folder(path, keep=lambda: _dvc_process() != dvc) as folder:
            state.wait_for_everyone()  # the other processes use the folder
            yield folder
    finally:
        for empty in (path, *path.parents[:2]):
            with suppress(OSError):
                empty.rmdir()


def _dvc_process() -> tuple[int, float] | None:
    """Identify the DVC process that runs this stage by id and start time; None without one."""
    for ancestor in psutil.Process().parents():
        with suppress(psutil.Error):
            if "dvc" in (Path(part).name for part in ancestor.cmdline()[:3]):
                return ancestor.pid, ancestor.create_time()
    return None


def _fingerprint(stage: str, params: Params) -> str:
    """Hash the stage's params, the contents of its deps, and the version of torch."""
    from dvc.repo import Repo  # slow to import

    with Repo() as repo:
        found = repo.stage.load_one(name=os.environ.get("DVC_STAGE", stage))  # pyright: ignore
        deps = [
            dep for dep in found.deps if dep.protocol == "local" and dep.def_path != "params.yaml"
        ]
        # A missing dep is reported by the stage itself, which can name the param that requires it.
        contents = {dep.def_path: dep.get_hash().value if dep.exists else None for dep in deps}
    parts = {"params": params.values, "deps": contents, "torch": torch.__version__}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
