"""Parallel decoding of masked tokens, of pictures and captions alike.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (decoding by confidence);
    Wang et al. 2025, ReMDM, arXiv:2503.00307 (masking written tokens again).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqpriors.sampling.base.logits import COLDEST, draw, likeliest, require_codes
from vqpriors.sampling.base.sampler import Noise, Watch, unwatched
from vqpriors.sampling.base.schedules import left_after

LogitsAt = Callable[[Tensor, Tensor, int], Tensor]
"""Gives the logits, (M, K), of wanted cells: tokens (B, N), is_wanted (B, N), step."""


@dataclass(frozen=True)
class Plan:
    """How to decode.

    Attributes:
        temperatures: Divides the logits of each step; 0 takes the likeliest token; S floats.
        choice_temperature: Scale of the Gumbel noise on the confidence of each step; S floats.
        remask: Share of the tokens written so far that each step but the last masks again.
        ranks: A fixed order of the cells, (B, N) or (N,) numbers; None: by confidence.
    """

    temperatures: list[float]
    choice_temperature: list[float]
    remask: float
    ranks: Tensor | None


def unmask(
    logits_at: LogitsAt,
    tokens: Tensor,
    is_open: Tensor,
    *,
    mask: int,
    plan: Plan,
    noise: Noise,
    watch: Watch = unwatched,
) -> Tensor:
    """Write the open cells of each picture in as many steps as the plan has; keep the others.

    Args:
        logits_at: Asked once a step, for the cells that may be written in it.
        tokens: (B, N) int64; what stands in open cells does not matter.
        is_open: Cells to write, (B, N) bool.
        mask: The token of a cell that is not written yet.
        plan: How to decode.
        noise: All the randomness there is.
        watch: Told after each step; masked cells count as not written.

    Returns:
        (B, N) int64.

    Raises:
        ValueError: If logits are NaN.
    """
    steps, length = len(plan.temperatures), tokens.shape[1]
    tokens, is_masked = tokens.masked_fill(is_open, mask), is_open
    for step, left in enumerate(left_after(is_open.sum(1), steps)):
        if not is_masked.any():  # as many steps as there are cells were enough
            break
        if plan.ranks is None:
            wanted = is_masked
        else:  # the order is known before the logits, which are then asked for what it takes alone
            ranks = plan.ranks.expand(tokens.shape)
            is_masked = _highest(ranks, is_masked, left)
            wanted = is_open & ~is_masked & (tokens == mask)
        logits = logits_at(tokens, wanted, step)
        chosen, confidence = _choose(logits, noise.uniform(length)[wanted], plan.temperatures[step])
        written = tokens.masked_scatter(wanted, chosen)
        if plan.ranks is None:
            confidence = confidence + plan.choice_temperature[step] * _gumbel(
                noise.uniform(length)[wanted]
            )
            empty = torch.zeros(tokens.shape, dtype=confidence.dtype, device=tokens.device)
            doubt = empty.masked_scatter(wanted, -confidence)
            is_masked = _highest(doubt, is_masked, left)
        if plan.remask and step + 1 < steps:
            is_masked = is_masked | _again(is_open & ~is_masked, plan.remask, noise, length)
        tokens = torch.where(is_masked, mask, written)
        watch(tokens, ~is_masked)
    require_codes(tokens, mask)
    return tokens


def _choose(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw tokens, (M,) int64, and tell how sure the logits are of each; (M,) float64."""
    log_probability = logits.float().log_softmax(-1)
    is_cold = temperature < COLDEST
    chosen = likeliest(logits) if is_cold else draw(logits / temperature, uniform)
    index = chosen.clamp(max=logits.shape[-1] - 1)[:, None]  # K stands for a draw from NaN
    return chosen, log_probability.gather(-1, index)[:, 0].double()


def _highest(keys: Tensor, is_candidate: Tensor, counts: Tensor) -> Tensor:
    """Mark the candidates of the highest keys, (B,) counts of them; (B, N) bool."""
    keys = keys.double().masked_fill(~is_candidate, -torch.inf)
    ranks = keys.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (ranks < counts[:, None]) & is_candidate


def _again(is_written: Tensor, share: float, noise: Noise, length: int) -> Tensor:
    counts = (is_written.sum(1) * share).floor().long()
    return _highest(noise.uniform(length), is_written, counts)


def _gumbel(uniform: Tensor) -> Tensor:
    return -(-uniform.clamp(1e-12, 1 - 1e-12).log()).log()
