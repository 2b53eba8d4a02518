"""What every stepwise prior does with its logits: losses, likelihood, completing a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.prior import StepwisePrior


def code_losses(logits: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """Return "nats_per_token", a code's mean negative log-likelihood given those before.

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
def fill(prior: StepwisePrior, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
    """Replace hidden codes by the likeliest ones, each given all that stand before it.

    A stepwise prior can't look ahead: kept codes after a hidden one do not bear on it.

    Args:
        prior: The prior.
        codes: (B, N) int64; those that are hidden are not looked at.
        is_hidden: Which positions to complete, the same in all pictures; (N,) bool.
        text: The captions.

    Returns:
        (B, N) int64, equal to `codes` where not hidden.
    """
    filled, state = codes.clone(), prior.start(text)
    token = torch.full_like(codes[:, 0], prior.begin)
    hidden = is_hidden.nonzero()[:, 0].tolist()
    for position in range(hidden[-1] + 1 if hidden else 0):
        logits = prior.step(token, state)
        if position in hidden:
            filled[:, position] = logits.argmax(-1)
        token = filled[:, position]
    return filled
