"""Negative log-likelihood of held-out codes: total, per token and in bits per dimension."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from vqpriors.data.text_inputs import TextInput
from vqpriors.evaluation.base.inputs import Inputs


class Likelihood(NamedTuple):
    """The total negative log-likelihood of pictures, or an upper bound on it.

    Attributes:
        nats: Sum over all pictures; exact, or an estimate of the bound.
        standard_error: Standard error of that estimate; 0 if `nats` is exact.
    """

    nats: float
    standard_error: float


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the likelihood of the codes of the test pictures; see `measure_likelihood`."""
    total = likelihood(
        inputs.prior,
        inputs.tokens.codes,
        inputs.tokens.captions,
        encode=inputs.encoder.encode,
        batch_size=inputs.batch_size,
        num_samples=inputs.bound_samples,
        seed=inputs.seed,
    )
    return measure_likelihood(
        total.nats,
        standard_error=total.standard_error,
        num_tokens=inputs.tokens.codes.size,
        num_values=inputs.real.pixels.size,
    )


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
    """Sum the negative log-likelihood of pictures in float32, batch by batch.

    Args:
        prior: A trained prior, on its device.
        codes: (M, N) integers.
        captions: M captions.
        encode: A text encoder's method `encode`.
        batch_size: Pictures in a batch.
        num_samples: Samples of the bound for each picture; unused if the likelihood is exact.
        seed: Seed of the samples' random numbers.
    """
    device, length = next(prior.parameters()).device, codes.shape[1]
    generator = torch.Generator().manual_seed(seed)
    num_estimates = 1 if prior.is_exact else num_samples
    total = variance = 0.0
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(codes[rows].astype(np.int64)).to(device)
        text = encode(captions[rows]).to(device)
        noise = torch.rand(num_estimates, len(batch), 1 + length, generator=generator)
        # Stratified: a picture's samples are evenly spaced in the number of masked codes, which
        # causes most of the variance.
        noise[:, :, 0] = (noise[0, :, 0] + torch.arange(num_estimates)[:, None] / num_estimates) % 1
        nats = torch.stack([prior.nats(batch, text, n.to(device)).double() for n in noise])
        total += float(nats.mean(0).sum())
        variance += float(nats.var(0).sum()) / num_estimates if num_estimates > 1 else 0.0
    return Likelihood(total, variance**0.5)


def measure_likelihood(
    total_nats: float, *, standard_error: float, num_tokens: int, num_values: int
) -> dict[str, float]:
    """Convert a total negative log-likelihood to nats per token and bits per dimension.

    Bits per dimension count the codes, not the tokenizer's reconstruction error. They compare
    priors over the codes of one tokenizer, not different tokenizers.

    Args:
        total_nats: Sum over all pictures; exact, or an estimate of an upper bound.
        standard_error: Standard error of that estimate; 0 if it is exact.
        num_tokens: Number of codes of all pictures.
        num_values: Number of pixel values of all pictures: pixels times channels.

    Returns:
        "nats_per_token", its standard error "nats_standard_error", its exponential "perplexity",
        and "bits_per_dim".
    """
    nats = total_nats / num_tokens
    return {
        "nats_per_token": nats,
        "nats_standard_error": standard_error / num_tokens,
        "perplexity": math.exp(nats),
        "bits_per_dim": total_nats / math.log(2) / num_values,
    }
