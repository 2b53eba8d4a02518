"""Batch size: chosen by memory, and detection of out-of-memory errors."""

import copy

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from vqpriors.training.config import TrainConfig
from vqpriors.training.examples import Examples, to_device

MAX_EXAMPLES = 1024  # a process; larger batches learn less per epoch and are hardly faster
MIN_STEPS = 8  # an epoch
MEASURED_BATCHES = (8, 16)  # examples whose memory is measured
HEADROOM = 4.0  # total memory over that of saved tensors: gradients, optimizer, fragmentation


def choose_batch_size(
    model: nn.Module, examples: Examples, *, config: TrainConfig, accelerator: Accelerator
) -> int:
    """Return the number of examples in a batch of all processes, at most all of them.

    "auto" is resolved by the first process for all.
    """
    wanted, world = config.stage.batch_size, accelerator.num_processes
    if wanted == "auto":
        with accelerator.autocast():
            local = largest_batch(model, examples, device=accelerator.device, world=world)
        (wanted,) = broadcast_object_list([world * local])
    return min(wanted, len(examples))


def require_full_parts(
    batch_size: int, *, num_examples: int, num_processes: int, config: TrainConfig
) -> None:
    """Raise a ValueError if processes get unequal shares of a batch, or a part has no example."""
    parts, section = config.stage.grad_accum_steps, config.section
    if batch_size % num_processes:
        raise ValueError(
            f"{section}.batch_size: {batch_size} of {num_examples} examples can't be shared "
            f"equally by {num_processes} processes; set it to a multiple of {num_processes}"
        )
    if batch_size // num_processes < parts:
        raise ValueError(
            f"{section}.batch_size: {batch_size} of {num_examples} examples over {num_processes} "
            f"processes in {parts} parts leaves some empty; raise it, or lower "
            f"{section}.grad_accum_steps or the number of processes"
        )


def largest_batch(model: nn.Module, examples: Examples, *, device: torch.device, world: int) -> int:
    """Return the largest power of 2 of examples that a process can train on at a time.

    Estimated, without reaching the limit, from the memory that a few examples keep for the
    backward pass; at most `MAX_EXAMPLES`, and small enough for `MIN_STEPS` steps an epoch.

    Args:
        model: Has `losses(batch)`; a copy of it is run.
        examples: The first ones are used.
        device: Of the model.
        world: Number of processes, which share a CPU's memory but have a GPU each.
    """
    free = _free_bytes(device) / (world if device.type == "cpu" else 1)
    copied = copy.deepcopy(model).train()
    few, more = (_saved_bytes(copied, examples, count, device) for count in MEASURED_BATCHES)
    each = max(1.0, (more - few) / (MEASURED_BATCHES[1] - MEASURED_BATCHES[0]))
    limit = (free / HEADROOM - few) / each
    size = 1
    while size * 2 <= min(MAX_EXAMPLES, limit, len(examples) / world / MIN_STEPS):
        size *= 2
    return size


def _saved_bytes(model: nn.Module, examples: Examples, count: int, device: torch.device) -> int:
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    rows = torch.arange(count) % len(examples)
    batch = to_device(examples.batch(rows, torch.Generator()), device)
    with torch.random.fork_rng(), saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model.losses(batch)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors
    del losses
    return sum(saved.values())


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
