"""MaskGIT sampling of a masked prior: annealing, guidance and order around parallel decoding.

The decoding steps themselves are `vqpriors.sampling.base.unmasking.unmask`.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (order by confidence, annealed Gumbel noise);
    Besnier et al. 2025, Halton-MaskGIT, arXiv:2503.17076 (a fixed order).
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.prior import MaskedPrior
from vqpriors.sampling.base.logits import guide, split_rows
from vqpriors.sampling.base.sampler import (
    Callback,
    KnownCodes,
    PictureRandom,
    no_callback,
    stack,
)
from vqpriors.sampling.base.unmasking import LogitsAt, UnmaskingSchedule, unmask
from vqpriors.sampling.maskgit.annealing import Annealing, falling, rising
from vqpriors.sampling.maskgit.halton import halton_ranks

PRIMITIVE, IS_DEFAULT = "masked", True
HAS_STEPS = True
TEMPERATURES = ("temperature", "latent_temperature")
EDITS = ("in-painting", "out-painting", "variation", "completion")


class Config(Section):
    """`sample.maskgit` of params.yaml."""

    order: Literal["confidence", "halton", "random"]
    temperature: float = Field(ge=0)
    temperature_schedule: Annealing
    guidance_schedule: Annealing
    choice_temperature: float = Field(ge=0)
    remask: float = Field(ge=0, lt=1)
    latent_steps: int = Field(ge=0)
    latent_temperature: float = Field(ge=0)


class MaskGIT:
    """Parallel decoding that draws many codes in each step; see `Sampler`."""

    def __init__(self, **settings: Any):
        self.config = Config(**settings)

    @torch.inference_mode()
    def __call__(
        self,
        prior: MaskedPrior,
        text: TextInput,
        null: TextInput,
        *,
        guidance: float,
        steps: int,
        random: PictureRandom,
        known: KnownCodes | None = None,
        callback: Callback = no_callback,
    ) -> Tensor:
        """Draw the codes, (B, N) int64, of B pictures; with guidance as one batch of 2 B."""
        device, shape = text.tokens.device, (len(text.tokens), prior.length)
        is_guided = guidance != 1 and text.tokens.shape[1] > 0
        has_latent = self._uses_latent(prior, steps)
        temperature = self.temperature_for(prior, steps)
        latent = random.normal(prior.latent_width) if has_latent else None
        state = prior.start(stack(text, null) if is_guided else text, latent)
        tokens = (
            torch.full(shape, prior.mask_token, device=device) if known is None else known.codes
        )
        mask = torch.ones_like(tokens, dtype=torch.bool) if known is None else ~known.keep
        if known is not None:  # each step draws a code at least, so more steps would not be made
            steps = max(1, min(steps, int(mask.sum(1).max())))
        return unmask(
            self._guided(prior, state, guidance, steps) if is_guided else _plain(prior, state),
            tokens,
            mask,
            mask_token=prior.mask_token,
            schedule=self._schedule(prior, steps, temperature, random),
            random=random,
            callback=callback,
        )

    def temperature_for(self, prior: MaskedPrior, steps: int) -> float:
        """Return the temperature before annealing; that of the latent where it is used."""
        has_latent = self._uses_latent(prior, steps)
        return self.config.latent_temperature if has_latent else self.config.temperature

    def _uses_latent(self, prior: MaskedPrior, steps: int) -> bool:
        return prior.latent_width > 0 and steps <= self.config.latent_steps

    def _guided(self, prior: MaskedPrior, state: Any, guidance: float, steps: int) -> LogitsAt:
        def logits_at(tokens: Tensor, selected: Cells, step: int) -> Iterator[Tensor]:
            both = prior.logits(tokens.repeat(2, 1), state, selected.repeated(2))
            share = rising(self.config.guidance_schedule, step, steps)
            for conditional, unconditional in split_rows(*both.chunk(2)):
                yield guide(conditional.float(), unconditional.float(), 1 + (guidance - 1) * share)

        return logits_at

    def _schedule(
        self, prior: MaskedPrior, steps: int, temperature: float, random: PictureRandom
    ) -> UnmaskingSchedule:
        config, ranks = self.config, None
        if config.order == "halton":
            ranks = halton_ranks(*prior.grid).to(random.device)
        elif config.order == "random":
            ranks = random.uniform(prior.length)
        annealing = config.temperature_schedule
        return UnmaskingSchedule(
            temperatures=[temperature * falling(annealing, step, steps) for step in range(steps)],
            choice_temperatures=[
                config.choice_temperature * falling("linear", step, steps) for step in range(steps)
            ],
            remask=config.remask,
            ranks=ranks,
        )


def _plain(prior: MaskedPrior, state: Any) -> LogitsAt:
    def logits_at(tokens: Tensor, selected: Cells, step: int) -> Iterator[Tensor]:
        return (logits for (logits,) in split_rows(prior.logits(tokens, state, selected)))

    return logits_at


def build(config: Config) -> MaskGIT:
    """Build the sampler that a config describes."""
    return MaskGIT(**dict(config))
