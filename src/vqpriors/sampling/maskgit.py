"""Many codes at a time, over a few passes, from a masked prior.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (order by confidence, Gumbel noise that is
    annealed);
    Besnier et al. 2025, Halton-MaskGIT, arXiv:2503.17076 (an order fixed in advance).
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.prior import MaskedPrior
from vqpriors.sampling.base.logits import guide
from vqpriors.sampling.base.order import halton_ranks
from vqpriors.sampling.base.sampler import Given, Noise, Watch, stack, unwatched
from vqpriors.sampling.base.schedules import Schedule, falling, rising
from vqpriors.sampling.base.unmasking import Plan, unmask

PRIMITIVE, IS_DEFAULT = "masked", True
HAS_STEPS = True
EDITS = ("in-painting", "out-painting", "variation", "completion")


class Config(Section):
    """`sample.maskgit` of params.yaml."""

    order: Literal["confidence", "halton", "random"]
    temperature: float = Field(ge=0)
    temperature_schedule: Schedule
    guidance_schedule: Schedule
    choice_temperature: float = Field(ge=0)
    remask: float = Field(ge=0, lt=1)
    latent_steps: int = Field(ge=0)


class Parallel:
    """Draws a growing part of the codes in each pass; see `Sampler`."""

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
        noise: Noise,
        given: Given | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Draw the codes, (B, N) int64, of B pictures; with guidance as one batch of 2 B."""
        shape = (len(text.tokens), prior.length)
        is_guided = guidance != 1 and text.tokens.shape[1] > 0
        state = self._start(prior, text, null, is_guided, steps, noise)

        def logits_at(tokens: Tensor, is_wanted: Tensor, step: int) -> Tensor:
            if not is_guided:
                return prior.logits(tokens, state, is_wanted).float()
            both = prior.logits(tokens.repeat(2, 1), state, is_wanted.repeat(2, 1)).float()
            share = rising(self.config.guidance_schedule, step, steps)
            conditional, unconditional = both.chunk(2)
            return guide(conditional, unconditional, 1 + (guidance - 1) * share)

        device = text.tokens.device
        tokens = (
            torch.full(shape, prior.mask_token, device=device) if given is None else given.codes
        )
        is_open = torch.ones_like(tokens, dtype=torch.bool) if given is None else ~given.is_kept
        plan = self._plan(prior, steps, noise, device)
        return unmask(
            logits_at, tokens, is_open, mask=prior.mask_token, plan=plan, noise=noise, watch=watch
        )

    def _start(
        self,
        prior: MaskedPrior,
        text: TextInput,
        null: TextInput,
        is_guided: bool,
        steps: int,
        noise: Noise,
    ) -> Any:
        latent = None
        if prior.latent_width and steps <= self.config.latent_steps:
            latent = noise.normal(prior.latent_width)
        return prior.start(stack(text, null) if is_guided else text, latent)

    def _plan(self, prior: MaskedPrior, steps: int, noise: Noise, device: torch.device) -> Plan:
        config = self.config
        ranks = None
        if config.order == "halton":
            ranks = halton_ranks(*prior.grid).to(device)
        elif config.order == "random":
            ranks = noise.uniform(prior.length)
        schedule = config.temperature_schedule
        return Plan(
            temperatures=[
                config.temperature * falling(schedule, step, steps) for step in range(steps)
            ],
            choice_temperature=[
                config.choice_temperature * falling("linear", step, steps) for step in range(steps)
            ],
            remask=config.remask,
            ranks=ranks,
        )


def build(config: Config) -> Parallel:
    """Build the sampler that a config describes."""
    return Parallel(**dict(config))
