"""Filling in codes and estimating the likelihood with any masked prior."""

import torch
from torch import Tensor

from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masking import likelihood_bound, lowest_k_mask
from vqpriors.priors.base.prior import MaskedPrior


@torch.no_grad()
def fill(prior: MaskedPrior, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
    """Replace masked codes by the likeliest ones, all in one pass.

    Args:
        prior: A masked prior.
        codes: (B, N) int64.
        mask: Cells to predict, the same in every picture; (N,) bool.
        text: The captions.

    Returns:
        (B, N) int64, equal to `codes` where not masked.
    """
    cells = Cells.of(mask.expand_as(codes))
    tokens = codes.masked_fill(cells.mask, prior.mask_token)
    return cells.put(prior.logits(tokens, prior.start(text), cells).argmax(1), into=codes)


def estimate_bound(prior: MaskedPrior, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
    """Estimate an upper bound on the negative log-likelihood; see `likelihood_bound`.

    Args:
        prior: A masked prior.
        codes: (B, N) int64.
        text: The captions.
        noise: Uniform draws that choose the masks; (B, 1 + N) float in 0..1.

    Returns:
        (B,) float32, nats.
    """
    length = codes.shape[1]
    counts = (noise[:, 0] * length).long().clamp(max=length - 1) + 1
    cells = Cells.of(lowest_k_mask(noise[:, 1:], counts))
    tokens = codes.masked_fill(cells.mask, prior.mask_token)
    return likelihood_bound(prior.logits(tokens, prior.start(text), cells), codes, cells)
