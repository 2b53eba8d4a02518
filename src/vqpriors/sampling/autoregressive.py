"""Autoregressive sampling of a stepwise prior: one code after another, in raster order."""

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.prior import StepwisePrior
from vqpriors.sampling.base.logits import (
    MIN_TEMPERATURE,
    draw,
    guide,
    keep_top_k,
    keep_top_p,
    likeliest,
    require_codes,
)
from vqpriors.sampling.base.sampler import (
    Callback,
    KnownCodes,
    PictureRandom,
    no_callback,
    stack,
)

PRIMITIVE, IS_DEFAULT = "stepwise", True
HAS_STEPS = False
TEMPERATURES = ("temperature",)
EDITS = ("completion",)


class Config(Section):
    """`sample.autoregressive` of params.yaml."""

    temperature: float = Field(ge=0)
    top_k: int = Field(ge=0)
    top_p: float = Field(gt=0, le=1)


class Autoregressive:
    """Ancestral sampling: each code from its distribution given the codes before; see `Sampler`."""

    def __init__(self, *, temperature: float, top_k: int, top_p: float):
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    @torch.inference_mode()
    def __call__(
        self,
        prior: StepwisePrior,
        text: TextInput,
        null: TextInput,
        *,
        guidance: float,
        steps: int,
        random: PictureRandom,
        known: KnownCodes | None = None,
        callback: Callback = no_callback,
    ) -> Tensor:
        """Draw the codes, (B, N) int64, of B pictures; with guidance as one batch of 2 B.

        `steps` is ignored: there is one step for each code. Codes are conditioned on known codes
        before them only, so those before a known code may not fit it.
        """
        batch, uniform = len(text.tokens), random.uniform(prior.length)
        is_guided = guidance != 1 and text.tokens.shape[1] > 0
        state = prior.start(stack(text, null) if is_guided else text)
        token = torch.full((batch,), prior.begin, device=text.tokens.device)
        codes = torch.zeros((batch, prior.length), dtype=torch.int64, device=token.device)
        mask = torch.ones_like(codes, dtype=torch.bool)
        for position in range(prior.length):
            logits = prior.step(token.repeat(2) if is_guided else token, state).float()
            if is_guided:
                logits = guide(*logits.chunk(2), guidance)
            token = self._draw(logits, uniform[:, position])
            if known is not None:
                token = torch.where(known.keep[:, position], known.codes[:, position], token)
            codes[:, position], mask[:, position] = token, False
            callback(codes, mask)
        require_codes(codes, prior.begin)
        return codes

    def temperature_for(self, prior: StepwisePrior, steps: int) -> float:
        """Return the temperature, which is the same for all."""
        return self.temperature

    def _draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        if self.temperature < MIN_TEMPERATURE:
            return likeliest(logits)
        return draw(
            keep_top_p(keep_top_k(logits / self.temperature, self.top_k), self.top_p), uniform
        )


def build(config: Config) -> Autoregressive:
    """Build the sampler that a config describes."""
    return Autoregressive(**dict(config))
