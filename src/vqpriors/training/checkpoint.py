"""Checkpoints: written atomically, verified by hash when read, the newest two kept."""

import json
import os
import shutil
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vqpriors.core.artifact import new_folder, verify

StateDict = dict[str, Tensor]


@dataclass
class Progress:
    """Position and history of a run; JSON values only.

    Attributes:
        phase: Index of the phase.
        epoch: Finished epochs of that phase.
        batch: Finished batches of the current epoch.
        step: Updates made, over all phases.
        best: Validation loss of the best state of this phase so far; None before the first.
        history: Logged points in order: a step and values by name.
        seconds: Time spent training, without interruptions.
        batch_size: Examples in a batch, over all processes; 0 until it is chosen.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0
    batch_size: int = 0


@dataclass
class Checkpoint:
    """The complete state of a run.

    Attributes:
        progress: Position and history.
        states: Weights and buffers by name: "model", "averaged" and "best".
        optimizer: The optimizer's state; empty between phases.
        scaler: The state of fp16's loss scaler; empty in other precisions.
    """

    progress: Progress
    states: dict[str, StateDict]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, verify it, and only then remove all but it and the one before."""
    for leftover in folder.glob(".tmp-step-*"):  # of a killed process; this one holds the lock
        shutil.rmtree(leftover)
    path = folder / f"step-{checkpoint.progress.step:09d}"
    with new_folder(path) as target:
        for name, state in checkpoint.states.items():
            save_file(state, target / f"{name}.safetensors")
        optimizer = {"optimizer": checkpoint.optimizer, "scaler": checkpoint.scaler}
        torch.save(optimizer, target / "optimizer.pt")
        (target / "progress.json").write_text(json.dumps(asdict(checkpoint.progress)))
    verify(path)
    for old in _newest_first(folder)[2:]:
        shutil.rmtree(old)


def clear(folder: Path) -> None:
    """Remove all checkpoints, complete or not."""
    for path in [*_newest_first(folder), *folder.glob(".tmp-step-*")]:
        shutil.rmtree(path)


def load(folder: Path) -> Checkpoint | None:
    """Read the newest undamaged checkpoint; None if there is no checkpoint.

    Warns:
        UserWarning: For each damaged checkpoint that is skipped.

    Raises:
        ValueError: If all are damaged; starting over silently would lose the run.
    """
    paths = _newest_first(folder)
    for path in paths:
        try:
            verify(path)
        except ValueError as error:
            problem = str(error).partition(";")[0]
            warnings.warn(f"{problem}; trying the previous checkpoint", stacklevel=2)
            continue
        return _read(path)
    if paths:
        raise ValueError(f"{folder}: all checkpoints are damaged; remove the folder to start over")
    return None


def _read(path: Path) -> Checkpoint:
    values = json.loads((path / "progress.json").read_text())
    values["history"] = [(step, logged) for step, logged in values["history"]]
    states = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
    # Otherwise every process would load it onto the first GPU.
    saved = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
    return Checkpoint(Progress(**values), states, saved["optimizer"], saved["scaler"])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=os.fspath, reverse=True)
