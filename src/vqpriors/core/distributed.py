"""The collectives that a quantizer needs; without a process group they are of this one's own."""

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(value: Tensor) -> Tensor:
    """Add a tensor over all processes, in place, and return it."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
    return value


def same_on_ranks(value: Tensor) -> Tensor:
    """Replace a tensor by the first process's, in place, and return it."""
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(value, src=0)
    return value


def all_rows(local: Tensor) -> Tensor:
    """Lay the processes' tensors, (M, ...) each, end to end by rank: (W M, ...)."""
    if not (dist.is_available() and dist.is_initialized()):
        return local
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local.contiguous())
    return torch.cat(gathered)


def random_rows(local: Tensor, count: int) -> Tensor:
    """Draw rows of `all_rows`, the same on all processes, without gathering them.

    Args:
        local: This process's, (M, D).
        count: How many, with repetition.

    Returns:
        (count, D).
    """
    is_alone = not (dist.is_available() and dist.is_initialized())
    rank, world = (0, 1) if is_alone else (dist.get_rank(), dist.get_world_size())
    drawn = torch.randint(world * len(local), (count,), device=local.device)
    if is_alone:
        return local[drawn]
    place = same_on_ranks(drawn) - rank * len(local)
    is_here = (place >= 0) & (place < len(local))
    rows = local[place.clamp(0, len(local) - 1)]
    return sum_over_ranks(torch.where(is_here[:, None], rows, torch.zeros_like(rows)))
