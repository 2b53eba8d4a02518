"""What every prior that guesses masked codes does alike, given its `start` and `logits`."""

import torch
from torch import Tensor

from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.masking import lowest, surprise
from vqpriors.priors.base.prior import MaskedPrior


@torch.no_grad()
def fill(prior: MaskedPrior, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
    """Guess hidden codes in one pass, each the likeliest; the others stay.

    Args:
        prior: A masked prior.
        codes: (B, N) int64.
        is_hidden: Cells to guess, the same of each picture; (N,) bool.
        text: The captions.

    Returns:
        (B, N) int64.
    """
    is_masked = is_hidden.expand_as(codes)
    logits = prior.logits(codes.masked_fill(is_masked, prior.mask), prior.start(text), is_masked)
    return codes.masked_scatter(is_masked, logits.argmax(1))


def bound(prior: MaskedPrior, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
    """Estimate an upper bound on each picture's negative log-likelihood; see `surprise`.

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
    is_masked = lowest(noise[:, 1:], counts)
    tokens = codes.masked_fill(is_masked, prior.mask)
    return surprise(prior.logits(tokens, prior.start(text), is_masked), codes, is_masked)
