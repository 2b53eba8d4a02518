"""The contract of a sampler: it owns the loop in which a prior's primitive is called.

A sampling module exports `Config` (a `Section`) and `build(config) -> Sampler`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vqpriors.conditioning import TextInput
from vqpriors.hardware import Precision, autocast
from vqpriors.seeds import derived_seed


class Sampler(Protocol):
    """Draws codes from a prior."""

    def __call__(
        self, prior: Any, text: TextInput, null: TextInput, *, guidance: float, noise: Tensor
    ) -> Tensor:
        """Draw the codes of B pictures.

        Args:
            prior: A prior whose `sampler` names this kind.
            text: The captions of the pictures.
            null: The empty caption, B times.
            guidance: Scale s of u + s(c - u) on the logits; 1 is none.
            noise: All the randomness there is: (B, N) float64, uniform in 0..1.

        Returns:
            (B, N) int64.
        """
        ...


def sample_codes(
    prior: Any,
    sampler: Sampler,
    captions: Sequence[str],
    *,
    encode: Callable[[Sequence[str]], TextInput],
    guidance: float,
    batch_size: int,
    precision: Precision,
    seed: int,
) -> np.ndarray:
    """Draw a picture's codes for each caption, batch by batch.

    Args:
        prior: A trained prior, on its device.
        sampler: One that the prior's `sampler` names.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        guidance: As `Sampler`.
        batch_size: Pictures at a time.
        precision: Of the prior.
        seed: Start of the randomness; a picture's depends on it and on the picture's place.

    Returns:
        (M, N) uint16 codes, raster order.
    """
    device = next(prior.parameters()).device
    batches = []
    starts = range(0, len(captions), batch_size)
    for start in tqdm(starts, desc="sampling", disable=not sys.stderr.isatty()):
        chunk = captions[start : start + batch_size]
        noise = picture_noise(range(start, start + len(chunk)), prior.length, seed=seed)
        text, null = encode(chunk).to(device), encode([""] * len(chunk)).to(device)
        with autocast(precision, device):
            codes = sampler(prior, text, null, guidance=guidance, noise=noise.to(device))
        batches.append(codes.cpu().numpy().astype(np.uint16))
    return np.concatenate(batches)


def picture_noise(rows: range, length: int, *, seed: int) -> Tensor:
    """Draw the randomness of pictures by their numbers, whatever batch they are in.

    Args:
        rows: The pictures' numbers.
        length: Number of tokens N.
        seed: The run's seed.

    Returns:
        (B, N) float64, uniform in 0..1.
    """
    draws = []
    for row in rows:
        generator = torch.Generator().manual_seed(derived_seed(seed, "picture", row))
        draws.append(torch.rand(length, generator=generator, dtype=torch.float64))
    return torch.stack(draws)
