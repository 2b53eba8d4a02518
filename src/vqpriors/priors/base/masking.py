"""Which codes a masked prior has to guess: how many of each picture, and where.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (schedules of the mask ratio);
    Besnier et al. 2025, Halton-MaskGIT, arXiv:2503.17076 (the arccos schedule).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Schedule = Literal["cosine", "arccos", "uniform"]


def mask_ratio(uniform: Tensor, schedule: Schedule) -> Tensor:
    """Turn uniform draws into mask ratios, both (...) float in 0..1.

    Of cosine masks a half hides more than 71% of a picture, of arccos and uniform ones 67 and 50%.
    """
    if schedule == "cosine":
        return (uniform * (math.pi / 2)).cos()
    if schedule == "arccos":
        return uniform.acos() * (2 / math.pi)
    return 1 - uniform


def mask_counts(ratio: Tensor, length: int) -> Tensor:
    """Return how many of `length` tokens a ratio masks, at least 1; (...) int64."""
    return (ratio * length).ceil().long().clamp(1, length)


def lowest(keys: Tensor, counts: Tensor) -> Tensor:
    """Mark the lowest keys of each row.

    Ranks rather than thresholds, so that ties never change how many are marked.

    Args:
        keys: (B, N) float.
        counts: How many to mark in each row, 0 to N; (B,) int.

    Returns:
        True where a key is marked; (B, N) bool.
    """
    ranks = keys.argsort(dim=1, stable=True).argsort(dim=1)
    return ranks < counts[:, None]


def rectangle_keys(draws: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return keys of which the lowest make up a rectangle, cut at the edges of the grid.

    Args:
        draws: Row, column and aspect of each rectangle; (B, 3) float in 0..1.
        grid: Rows and columns of codes.

    Returns:
        Each cell's distance from the rectangle's centre; (B, rows * columns) float.
    """
    rows, columns = grid
    centre = draws[:, :2] * draws.new_tensor([rows, columns])
    stretch = 2 ** (draws[:, 2:3] - 0.5)  # from twice as wide to twice as high
    row = (torch.arange(rows, device=draws.device) + 0.5 - centre[:, :1]).abs() / stretch
    column = (torch.arange(columns, device=draws.device) + 0.5 - centre[:, 1:2]).abs() * stretch
    return torch.maximum(row[:, :, None], column[:, None, :]).flatten(1)


def guessed(logits: Tensor, targets: Tensor, *, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the mean surprise at targets, in nats, and the share that is guessed right.

    Args:
        logits: (M, K) float.
        targets: (M,) int64.
        smoothing: Share of the target's probability that is spread over all K.

    Returns:
        Scalars, 0 where there is no target; the second has no gradient.
    """
    logits, count = logits.float(), max(1, len(targets))
    loss = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    return loss / count, (logits.detach().argmax(1) == targets).float().sum() / count


def surprise(logits: Tensor, codes: Tensor, is_masked: Tensor) -> Tensor:
    """Estimate each picture's bound on its negative log-likelihood from one mask.

    A mask of k codes, k uniform in 1..N and all masks of k codes alike, gives N / k times the
    surprise at the masked codes: on average the mean, over all orders, of what the codes cost one
    after the other, which by Jensen's inequality is no less than what a model that draws its order
    at random assigns to them.

    Args:
        logits: Of the masked codes, in the order of `codes[is_masked]`; (M, K) float.
        codes: (B, N) int64.
        is_masked: (B, N) bool, at least one a row.

    Returns:
        (B,) float32, nats.

    Reference:
        Hoogeboom et al. 2021, Autoregressive Diffusion Models, arXiv:2110.02037, equation 3.
    """
    nats = F.cross_entropy(logits.float(), codes[is_masked], reduction="none")
    spread = torch.zeros(codes.shape, device=codes.device).masked_scatter(is_masked, nats)
    return spread.sum(1) * (codes.shape[1] / is_masked.sum(1))
