"""Random masks, losses and likelihood bounds of masked priors.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (schedules of the mask ratio);
    Besnier et al. 2025, Halton-MaskGIT, arXiv:2503.17076 (the arccos schedule).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.core.hardware import send
from vqpriors.priors.base.cells import Cells

MaskSchedule = Literal["cosine", "arccos", "uniform"]


def mask_ratio(uniform: Tensor, schedule: MaskSchedule) -> Tensor:
    """Turn uniform draws into mask ratios, both (...) float in 0..1.

    The median ratio is 71% with the cosine schedule, 67% with arccos and 50% with uniform.
    """
    if schedule == "cosine":
        return (uniform * (math.pi / 2)).cos()
    if schedule == "arccos":
        return uniform.acos() * (2 / math.pi)
    return 1 - uniform


def mask_counts(ratio: Tensor, length: int) -> Tensor:
    """Return how many of `length` tokens to mask, at least 1; (...) int64."""
    return (ratio * length).ceil().long().clamp(1, length)


def lowest_k_mask(keys: Tensor, counts: Tensor) -> Tensor:
    """Mark the lowest keys of each row.

    Ranks rather than thresholds, so ties never change how many are marked.

    Args:
        keys: (B, N) float.
        counts: Number of keys to mark in each row, 0 to N; (B,) int.

    Returns:
        True where a key is marked; (B, N) bool.
    """
    ranks = keys.argsort(dim=1, stable=True).argsort(dim=1)
    return ranks < counts[:, None]


def lowest_k_cells(keys: Tensor, counts: Tensor) -> Cells:
    """Return the cells with the lowest keys of each row; see `lowest_k_mask`.

    Args:
        keys: (B, N) float.
        counts: Number of cells of each row, (B,) int64. If it is on a GPU, that is waited for.
    """
    return Cells.of(lowest_k_mask(keys, send(counts, keys.device)), int(counts.sum()))


def box_keys(draws: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return keys of which the lowest form a box, clipped at the edges of the grid.

    Args:
        draws: Row, column and aspect ratio of each box; (B, 3) float in 0..1.
        grid: Rows and columns of codes.

    Returns:
        Each cell's distance from the centre of the box; (B, rows * columns) float.
    """
    rows, columns = grid
    # A tensor of rows and columns would have to be sent to the device at each step.
    centre = torch.stack([draws[:, 0] * rows, draws[:, 1] * columns], dim=1)
    stretch = 2 ** (draws[:, 2:3] - 0.5)  # from twice as wide as high to twice as high as wide
    row = (torch.arange(rows, device=draws.device) + 0.5 - centre[:, :1]).abs() / stretch
    column = (torch.arange(columns, device=draws.device) + 0.5 - centre[:, 1:2]).abs() * stretch
    return torch.maximum(row[:, :, None], column[:, None, :]).flatten(1)


def masked_cross_entropy(
    logits: Tensor, targets: Tensor, *, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy in nats and the accuracy at masked tokens.

    Args:
        logits: Of the masked tokens; (M, K) float.
        targets: (M,) int64.
        smoothing: Label smoothing: share of the target's probability spread over all K.

    Returns:
        Scalars, 0 where there is no target; the accuracy has no gradient.
    """
    logits, count = logits.float(), max(1, len(targets))
    loss = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    return loss / count, (logits.detach().argmax(1) == targets).float().sum() / count


def likelihood_bound(logits: Tensor, codes: Tensor, cells: Cells) -> Tensor:
    """Estimate an upper bound on each picture's negative log-likelihood from one mask.

    The estimate is N / k times the cross-entropy at k masked codes. If k is uniform in 1..N, and
    all masks of k codes are equally likely, its mean is the negative log-likelihood of decoding one
    code at a time, averaged over all orders. By Jensen's inequality this is at least the negative
    log-likelihood of a model that draws its order at random.

    Args:
        logits: Of the masked codes, (M, K) float.
        codes: (B, N) int64.
        cells: The masked codes, at least one in a row.

    Returns:
        (B,) float32, nats.

    Reference:
        Hoogeboom et al. 2021, Autoregressive Diffusion Models, arXiv:2110.02037, equation 3.
    """
    nats = F.cross_entropy(logits.float(), cells.take(codes), reduction="none")
    by_cell = cells.put(nats, into=torch.zeros(codes.shape, device=codes.device))
    return by_cell.sum(1) * (codes.shape[1] / cells.mask.sum(1))
