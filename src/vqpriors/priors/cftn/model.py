"""CFTN, conditional flow transformer network: a masked transformer over codes, given a caption.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (training on random masks);
    Chang et al. 2023, Muse, arXiv:2301.00704 (captions by cross-attention in every block);
    Patil et al. 2024, aMUSEd, arXiv:2401.01808 (boxes among the masks).
"""

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.hardware import send
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import Context
from vqpriors.nn.backbone import Backbone, BackboneConfig
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masked import estimate_bound, fill
from vqpriors.priors.base.masking import (
    MaskSchedule,
    box_keys,
    lowest_k_cells,
    mask_counts,
    mask_ratio,
    masked_cross_entropy,
)
from vqpriors.priors.base.prior import Batch, text_of


class Config(BackboneConfig):
    """`prior.cftn` of params.yaml."""

    mask_schedule: MaskSchedule
    box_mask_prob: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class DecodingState:
    """The caption's keys and values for each block, shared by all decoding steps."""

    contexts: list[Context | None]


class CFTN(Backbone):
    """Bidirectional transformer over masked codes; a `MaskedPrior`."""

    primitive = "masked"
    is_captioner = False
    is_exact = False
    latent_width = 0

    def __init__(
        self,
        *,
        codebook_size: int,
        mask_schedule: MaskSchedule,
        box_mask_prob: float,
        label_smoothing: float,
        **settings: Any,
    ):
        """Build it.

        Args:
            codebook_size: Number of codes K; K is the mask token.
            mask_schedule: Distribution of the share of masked codes in training.
            box_mask_prob: Share of training pictures in which a box is masked.
            label_smoothing: Share of a target's probability spread over all codes in training.
            settings: As of `Backbone`.
        """
        super().__init__(name="cftn", codebook_size=codebook_size, start_token=False, **settings)
        self.mask_token = codebook_size
        self.num_draws = 5 + self.length
        self.mask_schedule: MaskSchedule = mask_schedule
        self.box_mask_prob, self.label_smoothing = box_mask_prob, label_smoothing
        self.measured: dict[str, Tensor] = {}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "masked_nats", the mean cross-entropy at masked codes; smoothed in training."""
        codes, cells = batch["codes"], self._masked_cells(batch)
        tokens = codes.masked_fill(cells.mask, self.mask_token)
        logits = self.logits(tokens, self.start(text_of(batch)), cells)
        smoothing = self.label_smoothing if self.training else 0.0
        loss, accuracy = masked_cross_entropy(logits, cells.take(codes), smoothing=smoothing)
        self.measured = {"visual_accuracy": accuracy}
        return {"masked_nats": loss}

    @torch.no_grad()
    def num_targets(self, batch: Batch) -> dict[str, Tensor]:
        """Return the number of masked codes, over which "masked_nats" is a mean."""
        count = self._masked_cells(batch).mask.sum()
        return dict.fromkeys(("masked_nats", "visual_accuracy"), count)

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Estimate an upper bound on the negative log-likelihood; see `Prior.nats`."""
        return estimate_bound(self, codes, text, noise)

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones, in one pass; see `Prior.fill`."""
        return fill(self, codes, mask, text)

    def start(self, text: TextInput, latent: Tensor | None = None) -> DecodingState:
        """Compute the caption's keys and values for every block; `latent` is not used."""
        return DecodingState(self.contexts(text))

    def logits(self, tokens: Tensor, state: DecodingState, cells: Cells) -> Tensor:
        """Return the logits of some cells, (M, K) float; see `MaskedPrior.logits`."""
        x = self.run_blocks(self.embed(tokens), state.contexts, is_causal=False)
        return self.head(self.norm(cells.take(x)))

    def _masked_cells(self, batch: Batch) -> Cells:
        counts = mask_counts(mask_ratio(batch["draws"][:, 0], self.mask_schedule), self.length)
        draws = send(batch["draws"], batch["codes"].device)
        is_box = draws[:, 1:2] < self.box_mask_prob
        keys = torch.where(is_box, box_keys(draws[:, 2:5], self.grid), draws[:, 5:])
        return lowest_k_cells(keys, counts)


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> CFTN:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return CFTN(grid=grid, codebook_size=codebook_size, text=text, **settings)
