"""One process of several: trains a model on its share of each batch and keeps what it made.

Run as `python -m tests.training.process NAME FOLDER`, in the environment that torchrun sets. FATAL
names the rank that dies, and at which point; SETTINGS, in JSON, changes how it trains; LOOKS has
the main process look at its weights.
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

from tests.tiny import lstm, phase, runtime_config, train_config
from tests.training.killing import Points
from tests.training.test_resume import (
    look_at,
    masked_prior_run,
    prior_run,
    token_splits,
    tokenizer_run,
)
from vqpriors.core.hardware import processes
from vqpriors.training import loop
from vqpriors.training.run import Run


def recurrent_prior_run() -> Any:
    """Make the prior whose layers hold an LSTM."""
    torch.manual_seed(1)
    phases = {"all": phase(), "head": phase(frozen=["layers.0"])}
    return lstm(), phases, *token_splits(num_draws=0)


RUNS = {
    "tokenizer": tokenizer_run,
    "prior": lambda: prior_run(dropout=0.0),
    "recurrent_prior": recurrent_prior_run,
    "masked_prior": lambda: masked_prior_run(dropout=0.0),
}


class Weighed(Run):
    """Keeps count of the numbers that this process holds.

    Attributes:
        held: At the last save, in the model, in its average and in the optimizer.
    """

    held: tuple[int, ...] = ()

    def save(self, folder: Path) -> None:
        """Count, then save."""
        states = [v for state in self.optimizer.state.values() for v in state.values()]
        kinds = (self.model.parameters(), self.averaged.parameters(), states)
        Weighed.held = tuple(sum(_local(value).numel() for value in kind) for kind in kinds)
        super().save(folder)


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def train_one(name: str, folder: Path) -> None:
    """Train the model of that name; leave each process's weights and the curves in a folder."""
    torch.set_num_threads(1)
    model, phases, training, validation = RUNS[name]()
    rank = processes().process_index
    doomed, _, fatal = os.environ.get("FATAL", "").partition(":")
    if doomed == str(rank):
        Points(int(fatal)).watch()
    settings: dict[str, Any] = json.loads(os.environ.get("SETTINGS", "{}"))
    loop.Run = Weighed
    trained = loop.train(
        model,
        phases=phases,
        # 4 a process, one for each thing that cftn2 learns
        config=train_config(**{"batch_size": 8} | settings),
        runtime=runtime_config(),
        training=training,
        validation=validation,
        seed=3,
        folder=folder / "run",
        log=lambda step, values: None,
        look=look_at if "LOOKS" in os.environ else None,
    )
    save_file(trained.last, folder / f"last-{rank}.safetensors")
    save_file(trained.best, folder / f"best-{rank}.safetensors")
    (folder / f"held-{rank}.json").write_text(json.dumps(Weighed.held))
    history = replace(trained.progress, seconds=0.0).history
    (folder / f"history-{rank}.json").write_text(json.dumps(history))


if __name__ == "__main__":
    train_one(sys.argv[1], Path(sys.argv[2]))
