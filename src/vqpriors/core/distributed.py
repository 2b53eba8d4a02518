"""Collective operations on tensors of all processes: sum, broadcast, gather, random rows.

Without a process group, only the tensors of this process take part.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a tensor over all processes (all-reduce), in place, and return it."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
    return value


def broadcast_from_first(value: Tensor) -> Tensor:
    """Broadcast the first process's tensor to all, in place, and return it."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(value, src=0)
    return value


def gather_rows(local: Tensor) -> Tensor:
    """Concatenate the tensors of all W processes by rank (all-gather).

    Args:
        local: Rows of this process, (M, ...); M is the same on all processes.

    Returns:
        (W * M, ...).
    """
    if not (dist.is_available() and dist.is_initialized()):
        return local
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local.contiguous())
    return torch.cat(gathered)


def sample_rows(local: Tensor, count: int) -> Tensor:
    """Sample rows of `gather_rows`, the same on all processes, without gathering all of them.

    Args:
        local: Rows of this process, (M, D); M is the same on all processes.
        count: Number of rows, drawn with replacement.

    Returns:
        (count, D).
    """
    is_single = not (dist.is_available() and dist.is_initialized())
    rank, world = (0, 1) if is_single else (dist.get_rank(), dist.get_world_size())
    drawn = torch.randint(world * len(local), (count,), device=local.device)
    if is_single:
        return local[drawn]
    index = broadcast_from_first(drawn) - rank * len(local)
    is_local = (index >= 0) & (index < len(local))
    rows = local[index.clamp(0, len(local) - 1)]
    return sum_over_ranks(torch.where(is_local[:, None], rows, torch.zeros_like(rows)))
