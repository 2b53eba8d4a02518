"""The contract of a sampler: the loop that draws codes with the primitive of a prior.

A sampling module exports `Config` (a `Section`) and `build(config) -> Sampler`; `PRIMITIVE`, the
primitive that a prior must offer ("stepwise" or "masked"); `IS_DEFAULT`, whether
`sample.sampler: auto` chooses it for such priors; `HAS_STEPS`, whether the number of decoding
steps is free; `TEMPERATURES`, the keys of `Config` that a caller's temperature replaces; and
`EDITS`, the edits of `vqpriors.inference.editing` that it supports.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vqpriors.core.compiler import avx512_problem, compiling
from vqpriors.core.hardware import (
    Precision,
    autocast_once,
    resolve_precision,
    send,
    widest_float,
)
from vqpriors.core.seeds import derived_seed
from vqpriors.data.text_inputs import TextInput

_LOG = logging.getLogger(__name__)


class KnownCodes(NamedTuple):
    """Codes of partly given pictures; a sampler keeps them and draws the rest.

    Attributes:
        codes: (B, N) int64; ignored where `keep` is False.
        keep: True where the code is given; (B, N) bool.
    """

    codes: Tensor
    keep: Tensor


Callback = Callable[[Tensor, Tensor], None]
"""Called after each decoding step with the codes so far, (B, N) int64, and a mask, (B, N) bool,
that is True where no code is drawn yet."""


def no_callback(codes: Tensor, mask: Tensor) -> None:
    """Ignore a decoding step."""


class PictureRandom:
    """A random number generator for each picture of a batch, seeded by the picture's number.

    A picture is therefore the same in any batch.

    Args:
        rows: The pictures' numbers.
        seed: The run's seed.
        device: Device of the numbers.
    """

    def __init__(self, rows: range, *, seed: int, device: torch.device):
        self.device = device
        self._generators = [
            torch.Generator().manual_seed(derived_seed(seed, "picture", row)) for row in rows
        ]

    def uniform(self, count: int) -> Tensor:
        """Draw the next numbers of each picture, uniform in 0..1, never 1.

        Returns:
            (B, count) float64; float32 on devices without float64.
        """
        dtype = widest_float(self.device)
        draws = [
            torch.rand(count, generator=generator, dtype=torch.float64).to(dtype)
            for generator in self._generators
        ]
        # Rounding to float32 can give 1.
        numbers = torch.stack(draws).clamp_(max=1 - torch.finfo(dtype).eps)
        return send(numbers, self.device)

    def normal(self, count: int) -> Tensor:
        """Draw the next numbers of each picture; (B, count) float32, standard normal."""
        return torch.special.ndtri(self.uniform(count).clamp(1e-12, 1 - 1e-12)).float()


class Sampler(Protocol):
    """A function that draws codes from a prior."""

    def __call__(
        self,
        prior: Any,
        text: TextInput,
        null: TextInput,
        *,
        guidance: float,
        steps: int,
        random: PictureRandom,
        known: KnownCodes | None = None,
        callback: Callback = no_callback,
    ) -> Tensor:
        """Draw the codes of B pictures.

        Args:
            prior: A prior that offers the sampler's primitive.
            text: The captions of the pictures.
            null: The empty caption, B times.
            guidance: Scale s of u + s(c - u) on the logits; 1 means no guidance.
            steps: Number of decoding steps, if the sampler has a choice.
            random: The only source of randomness.
            known: Codes to keep exactly; None draws all.
            callback: Called after each decoding step; it can't change the result.

        Returns:
            (B, N) int64.
        """
        ...

    def temperature_for(self, prior: Any, steps: int) -> float:
        """Return the temperature at which `prior` is sampled in so many steps."""
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
    compile: bool = False,
    known: tuple[np.ndarray, np.ndarray] | None = None,
    callback: Callback = no_callback,
) -> np.ndarray:
    """Draw the codes of a picture for each caption, batch by batch.

    Args:
        prior: A trained prior, on its device.
        sampler: A sampler for the prior's primitive.
        captions: M captions.
        encode: Encodes captions; a method of a text encoder.
        guidance: As in `Sampler`.
        steps: As in `Sampler`.
        batch_size: Pictures in a batch.
        precision: Precision of the prior; with "auto", stepwise priors use float32 on CPUs.
        seed: Seed of the run; a picture's numbers depend on it and on its place in `captions`.
        compile: Whether to compile parts from C on a CPU: steps of `transformer` for few pictures,
            and layers and draws of masked priors if the processor has AVX-512.
        known: Codes of the pictures, (M, N) integers, and which of them to keep, (M, N) bool.
        callback: As in `Sampler`; called for each batch separately.

    Returns:
        (M, N) uint16 codes, raster order.
    """
    device = next(prior.parameters()).device
    # So that all CPUs draw the same pictures. Fast bfloat16 would save a tenth to a fifth.
    if precision == "auto" and prior.primitive == "stepwise" and device.type == "cpu":
        precision = "no"
    problem = avx512_problem(device, resolve_precision(precision, device)) if compile else None
    if problem and prior.primitive == "masked":
        _LOG.warning("compile: changes nothing: %s", problem)
    batches = []
    with tqdm(total=len(captions), desc="sampling", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(captions), batch_size):
            rows = range(start, min(start + batch_size, len(captions)))
            chunk = captions[rows.start : rows.stop]
            text, null = encode(chunk).to(device), encode([""] * len(chunk)).to(device)
            with autocast_once(prior, precision), compiling(compile):
                codes = sampler(
                    prior,
                    text,
                    null,
                    guidance=guidance,
                    steps=steps,
                    random=PictureRandom(rows, seed=seed, device=device),
                    known=_select(known, rows, device),
                    callback=callback,
                )
            batches.append(codes.cpu().numpy().astype(np.uint16))
            bar.update(len(rows))
    return np.concatenate(batches)


def stack(text: TextInput, null: TextInput) -> TextInput:
    """Concatenate captions and null captions to a batch of 2 B, for guidance."""
    features = None
    if text.features is not None and null.features is not None:
        features = torch.cat([text.features, null.features])
    tokens, text_mask = (
        torch.cat([text.tokens, null.tokens]),
        torch.cat([text.text_mask, null.text_mask]),
    )
    return TextInput(tokens, text_mask, features)


def _select(
    known: tuple[np.ndarray, np.ndarray] | None, rows: range, device: torch.device
) -> KnownCodes | None:
    if known is None:
        return None
    codes, keep = (torch.from_numpy(part[rows.start : rows.stop]) for part in known)
    return KnownCodes(codes.long().to(device), keep.to(device))
