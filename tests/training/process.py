"""One of several processes that train a model; saves its results.

Run as `python -m tests.training.process NAME FOLDER`, in the environment that torchrun sets. FATAL
is the rank that dies and the point at which it does; SETTINGS, in JSON, changes training params;
CALLBACK turns on the callback after each epoch.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from tests.tiny import cftn, lstm, phase, runtime_config, train_config
from tests.training.killing import Points
from tests.training.test_resume import (
    masked_prior_run,
    prior_run,
    sharpening_run,
    token_splits,
    tokenizer_run,
    weight_norm,
)
from vqpriors.core.hardware import processes
from vqpriors.training import loop
from vqpriors.training.checkpoint import Checkpoint
from vqpriors.training.run import TrainingRun


def recurrent_prior_run() -> Any:
    """Return a run of the LSTM prior."""
    torch.manual_seed(1)
    phases = {"all": phase(), "head": phase(frozen=["layers.0"])}
    return lstm(), phases, *token_splits(num_draws=0)


def cftn_prior_run() -> Any:
    """Return a run of the masked prior with one tower."""
    torch.manual_seed(1)
    prior = cftn()
    phases = {"all": phase(), "head": phase(frozen=["blocks.0"])}
    return prior, phases, *token_splits(num_draws=prior.num_draws)


RUNS = {
    "tokenizer": tokenizer_run,
    "sharpening": sharpening_run,
    "prior": lambda: prior_run(dropout=0.0),
    "recurrent_prior": recurrent_prior_run,
    "masked_prior": lambda: masked_prior_run(dropout=0.0),
    "cftn_prior": cftn_prior_run,
}


class CountingRun(TrainingRun):
    """Counts the numbers that this process holds.

    Attributes:
        held: Numbers in the model, its average and the optimizer, at the last checkpoint.
    """

    held: tuple[int, ...] = ()

    def checkpoint(self) -> Checkpoint:
        """Count, then return the checkpoint."""
        states = [v for state in self.optimizer.state.values() for v in state.values()]
        kinds = (self.model.parameters(), self.averaged.parameters(), states)
        CountingRun.held = tuple(sum(_local(value).numel() for value in kind) for kind in kinds)
        return super().checkpoint()


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def train_one(name: str, folder: Path) -> None:
    """Train the model of that name; save this process's weights and history."""
    torch.set_num_threads(1)
    model, phases, training, validation = RUNS[name]()
    rank = processes().process_index
    killed, _, fatal = os.environ.get("FATAL", "").partition(":")
    if killed == str(rank):
        Points(int(fatal)).watch()
    settings: dict[str, Any] = json.loads(os.environ.get("SETTINGS", "{}"))
    loop.TrainingRun = CountingRun
    trained = loop.train(
        model,
        phases=phases,
        # of two processes, 4 each; cftn2 has 4 tasks with 2 examples each
        config=train_config(**{"batch_size": 8} | settings),
        runtime=runtime_config(),
        training=training,
        validation=validation,
        seed=3,
        folder=folder / "run",
        log=lambda step, values: None,
        callback=weight_norm if "CALLBACK" in os.environ else None,
    )
    save_file(trained.last, folder / f"last-{rank}.safetensors")
    save_file(trained.best, folder / f"best-{rank}.safetensors")
    (folder / f"held-{rank}.json").write_text(json.dumps(CountingRun.held))
    history = replace(trained.progress, seconds=0.0).history
    (folder / f"history-{rank}.json").write_text(json.dumps(history))


if __name__ == "__main__":
    train_one(sys.argv[1], Path(sys.argv[2]))
