"""One process of several: trains a model on its share of each batch and keeps what it made.

Run as `python -m tests.training.process NAME FOLDER`, in the environment that torchrun sets. FATAL
names the rank that dies, and at which point.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.tiny import train_config
from tests.training.killing import Points
from tests.training.test_resume import masked_prior_run, prior_run, tokenizer_run
from vqpriors.hardware import processes
from vqpriors.training.loop import train

RUNS = {
    "tokenizer": tokenizer_run,
    "prior": lambda: prior_run(dropout=0.0),
    "masked_prior": lambda: masked_prior_run(dropout=0.0),
}


def train_one(name: str, folder: Path) -> None:
    """Train the model of that name; leave each process's weights and the curves in a folder."""
    torch.set_num_threads(1)
    model, phases, training, validation = RUNS[name]()
    rank = processes().process_index
    doomed, _, fatal = os.environ.get("FATAL", "").partition(":")
    if doomed == str(rank):
        Points(int(fatal)).watch()
    trained = train(
        model,
        phases=phases,
        config=train_config(batch_size=8),  # 4 a process, one for each thing that cftn2 learns
        training=training,
        validation=validation,
        seed=3,
        folder=folder / "run",
        log=lambda step, values: None,
    )
    save_file(trained.last, folder / f"last-{rank}.safetensors")
    save_file(trained.best, folder / f"best-{rank}.safetensors")
    history = replace(trained.progress, seconds=0.0).history
    (folder / f"history-{rank}.json").write_text(json.dumps(history))


if __name__ == "__main__":
    train_one(sys.argv[1], Path(sys.argv[2]))
