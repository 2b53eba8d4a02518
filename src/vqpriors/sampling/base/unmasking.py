"""Parallel decoding of masked tokens, the core of MaskGIT, for pictures and captions.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (decoding by confidence, cosine mask schedule);
    Wang et al. 2025, ReMDM, arXiv:2503.00307 (re-masking of decoded tokens).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqpriors.core.hardware import send
from vqpriors.priors.base.cells import Cells
from vqpriors.sampling.base import compiled_draw
from vqpriors.sampling.base.logits import MIN_TEMPERATURE, draw, likeliest, require_codes
from vqpriors.sampling.base.sampler import Callback, PictureRandom, no_callback

LogitsAt = Callable[[Tensor, Cells, int], Iterable[Tensor]]
"""Computes the logits of M selected cells, given tokens (B, N), the cells and the step. It yields
those of a few cells at a time, (m, K) float, see `split_rows`."""


@dataclass(frozen=True)
class UnmaskingSchedule:
    """Settings of each decoding step.

    Attributes:
        temperatures: Divides the logits; 0 takes the likeliest token; S floats, one for each step.
        choice_temperatures: Scale of the Gumbel noise on the confidence; S floats.
        remask: Share of the decoded tokens that every step but the last masks again.
        ranks: A fixed order of the cells, (B, N) or (N,) numbers; None orders by confidence.
    """

    temperatures: list[float]
    choice_temperatures: list[float]
    remask: float
    ranks: Tensor | None


def unmask(
    logits_at: LogitsAt,
    tokens: Tensor,
    mask: Tensor,
    *,
    mask_token: int,
    schedule: UnmaskingSchedule,
    random: PictureRandom,
    callback: Callback = no_callback,
) -> Tensor:
    """Decode masked tokens in a fixed number of steps, many tokens in each.

    1. Replace the tokens to predict by the mask token.
    2. Look up how many tokens the mask schedule leaves masked after this step.
    3. With a fixed order, select the next cells of the order; otherwise select all masked cells.
    4. Compute the logits of the selected cells and draw a token for each, at the temperature of
       the step.
    5. Ordering by confidence, add Gumbel noise to the log-probability of each drawn token and
       mask the least confident ones again.
    6. Except in the last step, mask a random share of all decoded tokens again.
    7. Repeat from 2 until no token is masked.

    How many tokens a step draws follows from the number of masked tokens at the start, so a GPU is
    waited for only there and at the end.

    Args:
        logits_at: Called once a step.
        tokens: (B, N) int64; ignored where `mask` is True.
        mask: True where a token is to be predicted; the others are kept; (B, N) bool.
        mask_token: The token that stands for a masked cell.
        schedule: Settings of each step; its length is the number of steps.
        random: The only source of randomness.
        callback: Called after each step.

    Returns:
        (B, N) int64.

    Raises:
        ValueError: If logits are NaN.
    """
    steps, length, to_predict = len(schedule.temperatures), tokens.shape[1], mask
    counts = step_counts(mask.sum(1).cpu(), steps, remask=schedule.remask)
    left, again = (send(rows, tokens.device) for rows in (counts.left, counts.again))
    tokens = tokens.masked_fill(mask, mask_token)
    for step in range(steps):
        num_masked = int(counts.before[step].sum())
        if num_masked == 0:  # there are more steps than tokens
            break
        if schedule.ranks is None:
            selected = Cells.of(mask, num_masked)
        else:
            before, mask = mask, _top_k_mask(schedule.ranks.expand(tokens.shape), mask, left[step])
            selected = Cells.of(before & ~mask, num_masked - int(counts.left[step].sum()))
        parts = logits_at(tokens, selected, step)
        uniform = selected.take(random.uniform(length))
        drawn, confidence = _draw_tokens(parts, uniform, schedule.temperatures[step])
        decoded = selected.put(drawn, into=tokens)
        if schedule.ranks is None:
            noise = _gumbel(selected.take(random.uniform(length)))
            confidence = confidence + schedule.choice_temperatures[step] * noise
            keys = selected.put(-confidence, into=torch.zeros_like(tokens, dtype=confidence.dtype))
            mask = _top_k_mask(keys, mask, left[step])
        if schedule.remask and step + 1 < steps:
            mask = mask | _top_k_mask(random.uniform(length), to_predict & ~mask, again[step])
        tokens = torch.where(mask, mask_token, decoded)
        callback(tokens, mask)
    require_codes(tokens, mask_token)
    return tokens


class StepCounts(NamedTuple):
    """Numbers of tokens of each picture at each step; (S, B) int64 each.

    Attributes:
        before: Masked before the step.
        left: Left masked by the step.
        again: Masked again after it.
    """

    before: Tensor
    left: Tensor
    again: Tensor


def step_counts(num_masked: Tensor, steps: int, *, remask: float) -> StepCounts:
    """Return the numbers of masked tokens at each step.

    Args:
        num_masked: Masked tokens of each picture before the first step; (B,) int64.
        steps: Number of steps S.
        remask: As in `UnmaskingSchedule`.
    """
    left = num_masked_after(num_masked, steps)
    again = ((num_masked - left) * remask).floor().long()
    again[-1] = 0
    before = torch.cat([num_masked[None], (left + again)[:-1]])
    return StepCounts(before, left, again)


def num_masked_after(num_masked: Tensor, steps: int) -> Tensor:
    """Cosine mask schedule: the number of tokens that are still masked after each step.

    Every step decodes at least one token until none is masked; the first steps decode fewest.

    Args:
        num_masked: Masked tokens of each picture before the first step; (B,) int64.
        steps: Number of steps S.

    Returns:
        (S, B) int64; the last row is 0.
    """
    left, rows = num_masked, []
    for step in range(1, steps + 1):
        share = 0.0 if step == steps else math.cos(math.pi / 2 * step / steps)
        left = torch.minimum((num_masked * share).floor().long(), left - 1).clamp(min=0)
        rows.append(left)
    return torch.stack(rows)


def _draw_tokens(
    parts: Iterable[Tensor], uniform: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Draw tokens, (M,) int64, and return their log-probabilities, (M,) float, with them."""
    drawn, log_probabilities, count = [], [], 0
    for logits in parts:
        rows = uniform[count : count + len(logits)]
        count += len(logits)
        found = _draw_part(logits, rows, temperature)
        drawn.append(found[0])
        log_probabilities.append(found[1])
    return torch.cat(drawn), torch.cat(log_probabilities)


def _draw_part(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    is_greedy = temperature < MIN_TEMPERATURE
    if not is_greedy and compiled_draw.is_usable(logits):
        drawn, log_probability = compiled_draw.draw(logits, uniform, temperature)
        return drawn, log_probability.to(uniform.dtype)
    logits = logits.float()
    log_probability = logits.log_softmax(-1)
    drawn = likeliest(logits) if is_greedy else draw(logits / temperature, uniform)
    index = drawn.clamp(max=logits.shape[-1] - 1)[:, None]  # K stands for a draw from NaN
    return drawn, log_probability.gather(-1, index)[:, 0].to(uniform.dtype)


def _top_k_mask(keys: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """Mark the candidates with the highest keys, (B,) counts of them; (B, N) bool.

    Ranks rather than thresholds, so that ties never change how many are marked.
    """
    keys = keys if keys.is_floating_point() else keys.float()  # exact: ranks are below 2^24
    keys = keys.masked_fill(~candidates, -torch.inf)
    ranks = keys.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (ranks < counts[:, None]) & candidates


def _gumbel(uniform: Tensor) -> Tensor:
    return -(-uniform.clamp(1e-12, 1 - 1e-12).log()).log()
