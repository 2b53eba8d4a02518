"""How many examples at a time fit into memory, and what it looks like when they do not."""

import copy
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

MOST = 1024  # examples a process; larger batches learn less from an epoch and are hardly faster
FEWEST_STEPS = 8  # of an epoch
FEW = (8, 16)  # examples whose memory is measured
HEADROOM = 4.0  # memory needed over what is kept: gradients, optimizer, fragments
_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch says that memory ran out, on whichever device."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(part in text for part in _MESSAGES)


def largest_batch(model: nn.Module, examples: Any, *, device: torch.device, world: int) -> int:
    """Return the largest power of 2 of examples that a process can train on at a time.

    Estimated, without running into the limit, from what is kept for the backward pass of a few
    examples; at most `MOST`, and few enough for some steps an epoch.

    Args:
        model: Has `losses(batch)`; a copy is tried.
        examples: `Examples` of which the first are taken.
        device: Where the model is.
        world: Number of processes that share this memory or have their own of the same size.
    """
    free = _free_bytes(device) / (world if device.type == "cpu" else 1)
    tried = copy.deepcopy(model).train()
    few, some = (_kept_bytes(tried, examples, count, device) for count in FEW)
    each = max(1.0, (some - few) / (FEW[1] - FEW[0]))
    wanted = (free / HEADROOM - few) / each
    size = 1
    while size * 2 <= min(MOST, wanted, len(examples) / world / FEWEST_STEPS):
        size *= 2
    return size


def _kept_bytes(model: nn.Module, examples: Any, count: int, device: torch.device) -> int:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    rows = torch.arange(count) % len(examples)
    batch = {k: v.to(device) for k, v in examples.batch(rows, torch.Generator()).items()}
    with torch.random.fork_rng(), saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model.losses(batch)  # pyright: ignore[reportCallIssue] nn.Module types attributes as tensors
    del losses
    return sum(kept.values())


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
