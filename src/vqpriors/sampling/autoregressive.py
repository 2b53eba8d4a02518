"""One code after the other, in raster order, from a stepwise prior."""

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput
from vqpriors.priors.base.prior import StepwisePrior
from vqpriors.sampling.base.logits import (
    COLDEST,
    draw,
    guide,
    keep_top_k,
    keep_top_p,
    likeliest,
    require_codes,
)
from vqpriors.sampling.base.sampler import Given, Noise, Watch, stack, unwatched

PRIMITIVE, IS_DEFAULT = "stepwise", True
HAS_STEPS = False
EDITS = ("completion",)


class Config(Section):
    """`sample.autoregressive` of params.yaml."""

    temperature: float = Field(ge=0)
    top_k: int = Field(ge=0)
    top_p: float = Field(gt=0, le=1)


class Autoregressive:
    """Draws each code from its distribution given those before; see `Sampler`."""

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
        noise: Noise,
        given: Given | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Draw the codes, (B, N) int64, of B pictures; with guidance as one batch of 2 B.

        There is no choice of steps: each code takes one. A code that is kept is known to those
        after it only, so what is drawn before it can't fit it.
        """
        batch, uniform = len(text.tokens), noise.uniform(prior.length)
        is_guided = guidance != 1 and text.tokens.shape[1] > 0
        state = prior.start(stack(text, null) if is_guided else text)
        token = torch.full((batch,), prior.begin, device=text.tokens.device)
        codes = torch.zeros((batch, prior.length), dtype=torch.int64, device=token.device)
        is_written = torch.zeros_like(codes, dtype=torch.bool)
        for position in range(prior.length):
            logits = prior.step(token.repeat(2) if is_guided else token, state).float()
            if is_guided:
                logits = guide(*logits.chunk(2), guidance)
            token = self._choose(logits, uniform[:, position])
            if given is not None:
                token = torch.where(given.is_kept[:, position], given.codes[:, position], token)
            codes[:, position], is_written[:, position] = token, True
            watch(codes, is_written)
        require_codes(codes, prior.begin)
        return codes

    def _choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        if self.temperature < COLDEST:
            return likeliest(logits)
        return draw(
            keep_top_p(keep_top_k(logits / self.temperature, self.top_k), self.top_p), uniform
        )


def build(config: Config) -> Autoregressive:
    """Build the sampler that a config describes."""
    return Autoregressive(**dict(config))
