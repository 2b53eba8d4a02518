"""Negative log-likelihood of held-out codes, per token, with its standard error."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from vqpriors.data.text_inputs import TextInput
from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs


class Likelihood(NamedTuple):
    """The negative log-likelihood of M pictures, or an upper bound on it.

    Attributes:
        nats: Of each picture, exact or an estimate of the bound; (M,) float64.
        variance: Variance of each estimate, (M,) float64; None if `nats` is exact.
    """

    nats: np.ndarray
    variance: np.ndarray | None


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the likelihood of the codes of the evaluated split; see `measure_likelihood`."""
    assert inputs.tokens.ids[:] == inputs.real.ids
    found = likelihood(
        inputs.prior,
        inputs.tokens.codes,
        inputs.tokens.captions,
        encode=inputs.encoder.encode,
        batch_size=inputs.batch_size,
        num_samples=inputs.bound_samples,
        seed=inputs.seed,
    )
    num_tokens = inputs.tokens.codes.shape[1]
    return measure_likelihood(found, groups=inputs.real.groups, num_tokens=num_tokens)


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
    """Compute the negative log-likelihood of pictures in float32, batch by batch.

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
    means, variances = [], []
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(codes[rows].astype(np.int64)).to(device)
        text = encode(captions[rows]).to(device)
        noise = torch.rand(num_estimates, len(batch), 1 + length, generator=generator)
        # Stratified: a picture's samples are evenly spaced in the number of masked codes, which
        # causes most of the variance.
        noise[:, :, 0] = (noise[0, :, 0] + torch.arange(num_estimates)[:, None] / num_estimates) % 1
        nats = torch.stack([prior.nats(batch, text, n.to(device)).cpu().double() for n in noise])
        means.append(nats.mean(0))
        if num_estimates > 1:
            variances.append(nats.var(0) / num_estimates)
    variance = torch.cat(variances).numpy() if variances else None
    return Likelihood(torch.cat(means).numpy(), variance)


def measure_likelihood(
    found: Likelihood, *, groups: Sequence[str], num_tokens: int
) -> dict[str, float]:
    """Return the mean negative log-likelihood per token.

    It is of the codes of one tokenizer and says nothing about the pictures that they decode to, so
    it does not compare priors of different tokenizers.

    Args:
        found: The likelihood of M pictures.
        groups: The group of each picture; see `standard_error`.
        num_tokens: Number of codes of a picture.

    Returns:
        "nats_per_token"; "nats_per_token_se", its standard error for other pictures of the same
        kind; "perplexity", its exponential; and, if it is a bound, "nats_bound_se", the standard
        error of the bound's estimate for these pictures, which is part of "nats_per_token_se".
    """
    nats = found.nats / num_tokens
    metrics = {
        "nats_per_token": float(nats.mean()),
        "nats_per_token_se": standard_error(nats, groups),
        "perplexity": math.exp(nats.mean()),
    }
    if found.variance is not None:
        metrics["nats_bound_se"] = math.sqrt(found.variance.sum()) / len(nats) / num_tokens
    return metrics
