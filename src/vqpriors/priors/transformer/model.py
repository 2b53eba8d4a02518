"""GPT over the codes in raster order, with cross-attention to the caption.

References:
    Radford et al. 2019, GPT-2; Sun et al. 2024, LlamaGen, arXiv:2406.06525 (the modern block and
    rotary positions over the grid).
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.backbone import Backbone, BackboneConfig
from vqpriors.nn.stepping import Steps, make_steps
from vqpriors.priors.base.prior import Batch, text_of
from vqpriors.priors.base.stepwise import code_losses, code_nats, fill


class Config(BackboneConfig):
    """`prior.transformer` of params.yaml."""

    phases: dict[str, Phase] = Field(min_length=1)


class Transformer(Backbone):
    """Causal transformer over codes; a `StepwisePrior`.

    Attributes:
        begin: The start token, which comes before the first code.
    """

    primitive = "stepwise"
    is_captioner = False
    is_exact = True
    num_draws = 0

    def __init__(self, *, codebook_size: int, **settings: Any):
        """Build it; for the other arguments see `Backbone`."""
        super().__init__(
            name="transformer", codebook_size=codebook_size, start_token=True, **settings
        )
        self.begin = codebook_size

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "nats_per_token", the mean negative log-likelihood of codes given those before."""
        return code_losses(self.logits(batch["codes"], text_of(batch)), batch["codes"])

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor | None = None) -> Tensor:
        """Return each picture's exact negative log-likelihood in nats, (B,) float32."""
        return code_nats(self.logits(codes, text), codes)

    def logits(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the logits of every code given those before it.

        Args:
            codes: (B, N) int64, raster order; the last one is not used.
            text: The captions.

        Returns:
            (B, N, K) float.
        """
        begin = torch.full_like(codes[:, :1], self.begin)
        x = self.embed(torch.cat([begin, codes[:, :-1]], dim=1))
        return self.head(self.norm(self.run_blocks(x, self.contexts(text), is_causal=True)))

    def start(self, text: TextInput) -> Steps:
        """Return the blocks with empty caches and the caption's keys and values."""
        return make_steps(self, self.contexts(text, for_cache=True), batch=len(text.tokens))

    def step(self, token: Tensor, state: Steps) -> Tensor:
        """Return the next code's logits, (B, K) float, given the token before, (B,) int64."""
        return state(self.embed(token[:, None], position=state.position)[:, 0])

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones; see `vqpriors.priors.base.stepwise.fill`."""
        return fill(self, codes, mask, text)


def build(
    config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape
) -> Transformer:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return Transformer(grid=grid, codebook_size=codebook_size, text=text, **settings)
