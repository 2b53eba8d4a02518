"""The contract of a sampler: it owns the loop in which a prior's primitive is called.

A sampling module exports `Config` (a `Section`) and `build(config) -> Sampler`; `PRIMITIVE`, what
it needs of a prior ("stepwise" or "masked"); `IS_DEFAULT`, whether `sample.sampler: auto` chooses
it for such priors; `HAS_STEPS`, whether the number of decoding steps is free; and `EDITS`, the
edits of `vqpriors.inference.editing` that it can do.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vqpriors.core.hardware import Precision, autocast_once
from vqpriors.core.seeds import derived_seed
from vqpriors.data.text_inputs import TextInput


class Given(NamedTuple):
    """What is there of pictures already, to be completed.

    Attributes:
        codes: (B, N) int64.
        is_kept: True where the code stays as it is; (B, N) bool.
    """

    codes: Tensor
    is_kept: Tensor


Watch = Callable[[Tensor, Tensor], None]
"""Is told after each pass of the codes so far, (B, N) int64, and which are written, (B, N) bool."""


def unwatched(codes: Tensor, is_written: Tensor) -> None:
    """Take no notice."""


class Noise:
    """All the randomness of a batch of pictures, drawn for each by its number.

    So a picture is the same whatever batch it is in.

    Args:
        rows: The pictures' numbers.
        seed: The run's seed.
        device: Where draws are wanted.
    """

    def __init__(self, rows: range, *, seed: int, device: torch.device):
        self.device = device
        self._generators = [
            torch.Generator().manual_seed(derived_seed(seed, "picture", row)) for row in rows
        ]

    def uniform(self, count: int) -> Tensor:
        """Draw the next numbers of each picture; (B, count) float64, uniform in 0..1."""
        draws = [
            torch.rand(count, generator=generator, dtype=torch.float64)
            for generator in self._generators
        ]
        return torch.stack(draws).to(self.device)

    def normal(self, count: int) -> Tensor:
        """Draw the next numbers of each picture; (B, count) float32, standard normal."""
        return torch.special.ndtri(self.uniform(count).clamp(1e-12, 1 - 1e-12)).float()


class Sampler(Protocol):
    """Draws codes from a prior."""

    def __call__(
        self,
        prior: Any,
        text: TextInput,
        null: TextInput,
        *,
        guidance: float,
        steps: int,
        noise: Noise,
        given: Given | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Draw the codes of B pictures.

        Args:
            prior: A prior whose `sampler` names this kind.
            text: The captions of the pictures.
            null: The empty caption, B times.
            guidance: Scale s of u + s(c - u) on the logits; 1 is none.
            steps: Passes over a picture, where the prior leaves a choice.
            noise: All the randomness there is.
            given: Codes to keep, bit for bit, where there are any.
            watch: Told after each pass; what it does changes nothing.

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
    steps: int,
    batch_size: int,
    precision: Precision,
    seed: int,
    given: tuple[np.ndarray, np.ndarray] | None = None,
    watch: Watch = unwatched,
) -> np.ndarray:
    """Draw a picture's codes for each caption, batch by batch.

    Args:
        prior: A trained prior, on its device.
        sampler: One that the prior's `sampler` names.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        guidance: As `Sampler`.
        steps: As `Sampler`.
        batch_size: Pictures at a time.
        precision: Of the prior.
        seed: Start of the randomness; a picture's depends on it and on the picture's place.
        given: Codes of the pictures, (M, N) integers, and which of them to keep, (M, N) bool.
        watch: As `Sampler`; each batch by itself.

    Returns:
        (M, N) uint16 codes, raster order.
    """
    device = next(prior.parameters()).device
    batches = []
    starts = range(0, len(captions), batch_size)
    for start in tqdm(starts, desc="sampling", disable=not sys.stderr.isatty()):
        rows = range(start, min(start + batch_size, len(captions)))
        chunk = captions[rows.start : rows.stop]
        text, null = encode(chunk).to(device), encode([""] * len(chunk)).to(device)
        with autocast_once(prior, precision):
            codes = sampler(
                prior,
                text,
                null,
                guidance=guidance,
                steps=steps,
                noise=Noise(rows, seed=seed, device=device),
                given=_part(given, rows, device),
                watch=watch,
            )
        batches.append(codes.cpu().numpy().astype(np.uint16))
    return np.concatenate(batches)


def stack(text: TextInput, null: TextInput) -> TextInput:
    """Put captions and null captions into one batch of 2 B."""
    features = None
    if text.features is not None and null.features is not None:
        features = torch.cat([text.features, null.features])
    tokens, text_mask = (
        torch.cat([text.tokens, null.tokens]),
        torch.cat([text.text_mask, null.text_mask]),
    )
    return TextInput(tokens, text_mask, features)


def _part(
    given: tuple[np.ndarray, np.ndarray] | None, rows: range, device: torch.device
) -> Given | None:
    if given is None:
        return None
    codes, is_kept = (torch.from_numpy(part[rows.start : rows.stop]) for part in given)
    return Given(codes.long().to(device), is_kept.to(device))
