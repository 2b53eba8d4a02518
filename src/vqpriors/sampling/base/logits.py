"""Codes from logits: guidance, top-k and top-p filters, and a categorical draw."""

from collections.abc import Iterator

import torch
from torch import Tensor

MIN_TEMPERATURE = 1e-6  # lower ones count as 0: logits divided by them would overflow
MAX_PROBABILITIES = 2**20  # computed at a time, so that a processor's cache holds them


def split_rows(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield a few rows of (B, K) at a time, and those of other tensors of B rows."""
    rows = max(1, MAX_PROBABILITIES // logits.shape[-1])
    return zip(*(each.split(rows) for each in (logits, *others)), strict=True)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance u + s(c - u) on logits; s = 1 returns `conditional`.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598.
    """
    return torch.lerp(unconditional, conditional, scale)  # exact at 0 and 1, unlike the plain sum


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Set all but the k largest logits of each row to -inf; k = 0 keeps all.

    Logits equal to the k-th are kept, too.
    """
    if k == 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Nucleus filter: keep the fewest codes of each row with probability p or more in sum.

    The others become -inf. Of equal codes the first are kept.

    Reference:
        Holtzman et al. 2019, nucleus sampling, arXiv:1904.09751.
    """
    if p >= 1:
        return logits
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    is_past = probabilities.cumsum(-1) - probabilities >= p
    return logits.masked_fill(torch.zeros_like(is_past).scatter(-1, index, is_past), -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a code from each row by inverse transform sampling.

    Args:
        logits: (B, K) float.
        uniform: (B,) float in 0..1, without 1; the draw is computed in its dtype.

    Returns:
        (B,) int64, never a code of probability 0; K for a row with NaN, see `require_codes`.
    """
    return torch.cat([_draw_rows(*part) for part in split_rows(logits, uniform)])


def _draw_rows(logits: Tensor, uniform: Tensor) -> Tensor:
    probabilities = logits.to(uniform.dtype).softmax(-1)
    cumulative = probabilities.cumsum(-1)
    # Scaled by the last sum, so that rounding can't place the draw beyond the last possible code.
    target = (uniform.clamp(max=1 - 1e-12) * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def likeliest(logits: Tensor) -> Tensor:
    """Return the likeliest code of each row, the first of equals: the draw at temperature 0.

    Args:
        logits: (B, K) float.

    Returns:
        (B,) int64; K for a row with NaN, see `require_codes`.
    """
    return logits.argmax(-1).masked_fill(logits.isnan().any(-1), logits.shape[-1])


def require_codes(codes: Tensor, count: int) -> None:
    """Raise an error if any code was drawn from NaN logits.

    Called once a batch rather than at each draw, since it waits for the device.

    Args:
        codes: Any shape, int64.
        count: Number of codes K; K itself marks a draw from NaN.

    Raises:
        ValueError: If any code is K or more.
    """
    if codes.numel() and int(codes.max()) >= count:
        raise ValueError(
            "prior: its logits are not numbers (NaN); train it again, or set sample.precision to no"
        )
