"""Logits to a drawn code: guidance, temperature, top-k, top-p."""

import torch
from torch import Tensor

COLDEST = 1e-6  # lower temperatures count as 0: logits divided by them would overflow


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Push logits away from the null condition's: u + s(c - u); s = 1 returns `conditional`.

    Reference:
        Ho & Salimans 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598, applied to logits.
    """
    return torch.lerp(unconditional, conditional, scale)  # exact at 0 and 1, unlike the plain sum


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Set all but the k largest of each row, and their equals, to -inf; k = 0 keeps all."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest codes of each row whose probabilities reach p; the others become -inf.

    Of equal codes the first are kept.

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
    """Draw a code from each row by inverting its cumulative distribution.

    Args:
        logits: (B, K) float.
        uniform: (B,) float64 in 0..1.

    Returns:
        (B,) int64, never a code of probability 0; K for a row that holds NaN, see
        `require_codes`.
    """
    probabilities = logits.double().softmax(-1)
    cumulative = probabilities.cumsum(-1)
    # Scaled by the last sum, so that rounding can't leave the draw beyond the last possible code.
    target = (uniform.clamp(max=1 - 1e-12) * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def likeliest(logits: Tensor) -> Tensor:
    """Return the likeliest code of each row, the first of equals: what temperature 0 draws.

    Args:
        logits: (B, K) float.

    Returns:
        (B,) int64; K for a row that holds NaN, see `require_codes`.
    """
    return logits.argmax(-1).masked_fill(logits.isnan().any(-1), logits.shape[-1])


def require_codes(codes: Tensor, count: int) -> None:
    """Refuse drawn codes if a prior's logits were not numbers.

    Once a batch rather than at each draw, since it waits for the device.

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
