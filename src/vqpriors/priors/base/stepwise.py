"""Losses, likelihood and completion of any stepwise prior."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.prior import StepwisePrior


def code_losses(logits: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """Return "nats_per_token", the mean negative log-likelihood of codes given those before.

    Args:
        logits: (B, N, K) float.
        codes: (B, N) int64.
    """
    return {"nats_per_token": F.cross_entropy(logits.flatten(0, 1).float(), codes.flatten())}


def code_nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return each picture's exact negative log-likelihood in nats, (B,) float32.

    Args:
        logits: (B, N, K) float.
        codes: (B, N) int64.
    """
    return F.cross_entropy(logits.float().transpose(1, 2), codes, reduction="none").sum(1)


@torch.no_grad()
def fill(prior: StepwisePrior, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
    """Replace masked codes by the likeliest ones, each given the codes before it.

    A stepwise prior is causal: given codes after a masked one do not influence it.

    Args:
        prior: A stepwise prior.
        codes: (B, N) int64; values at masked positions are not used.
        mask: Positions to predict, the same in every picture; (N,) bool.
        text: The captions.

    Returns:
        (B, N) int64, equal to `codes` where not masked.
    """
    filled, state = codes.clone(), prior.start(text)
    token = torch.full_like(codes[:, 0], prior.begin)
    masked = mask.nonzero()[:, 0].tolist()
    for position in range(masked[-1] + 1 if masked else 0):
        logits = prior.step(token, state)
        if position in masked:
            filled[:, position] = logits.argmax(-1)
        token = filled[:, position]
    return filled
