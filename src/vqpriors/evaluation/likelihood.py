"""The likelihood of held-out codes under a prior, in units that can be compared."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from vqpriors.data.text_inputs import TextInput


class Likelihood(NamedTuple):
    """The negative log-likelihood of pictures, or a bound on it.

    Attributes:
        nats: Over all pictures.
        standard_error: Of `nats` as an estimate of the bound; 0 where it is exact.
    """

    nats: float
    standard_error: float


@torch.inference_mode()
def likelihood(
    prior: Any,
    codes: np.ndarray,
    captions: Sequence[str],
    *,
    encode: Callable[[Sequence[str]], TextInput],
    batch_size: int,
    num_samples: int,
    seed: int,
) -> Likelihood:
    """Add up the negative log-likelihood of pictures, in float32, batch by batch.

    Args:
        prior: A trained prior, on its device.
        codes: (M, N) integers.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        batch_size: Pictures at a time.
        num_samples: Estimates a picture where the prior gives a bound.
        seed: Start of the estimates' randomness.
    """
    device, length = next(prior.parameters()).device, codes.shape[1]
    generator = torch.Generator().manual_seed(seed)
    rounds = 1 if prior.is_exact else num_samples
    total = variance = 0.0
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(codes[rows].astype(np.int64)).to(device)
        text = encode(captions[rows]).to(device)
        noise = torch.rand(rounds, len(batch), 1 + length, generator=generator)
        # Spread evenly over the numbers of masked codes, which cost most of the variance.
        noise[:, :, 0] = (noise[0, :, 0] + torch.arange(rounds)[:, None] / rounds) % 1
        found = torch.stack([prior.nats(batch, text, n.to(device)).double() for n in noise])
        total += float(found.mean(0).sum())
        variance += float(found.var(0).sum()) / rounds if rounds > 1 else 0.0
    return Likelihood(total, variance**0.5)


def measure_likelihood(
    total_nats: float, *, standard_error: float, num_tokens: int, num_values: int
) -> dict[str, float]:
    """Express the negative log-likelihood of codes per token and per value of the picture.

    The last counts the codes alone, not what the tokenizer loses: priors over one tokenizer's codes
    can be compared by it, tokenizers can't.

    Args:
        total_nats: Over all pictures; exact, or an estimate of an upper bound.
        standard_error: Of the estimate; 0 where it is exact.
        num_tokens: Codes in all pictures.
        num_values: Pixels times channels in all pictures.

    Returns:
        "nats_per_token", with its "nats_standard_error", "perplexity" (its exponential) and
        "bits_per_dim".
    """
    nats = total_nats / num_tokens
    return {
        "nats_per_token": nats,
        "nats_standard_error": standard_error / num_tokens,
        "perplexity": math.exp(nats),
        "bits_per_dim": total_nats / math.log(2) / num_values,
    }
