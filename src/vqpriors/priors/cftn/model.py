"""CFTN, conditional flow transformer network: a masked transformer over codes, given a caption.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (training on random masks);
    Chang et al. 2023, Muse, arXiv:2301.00704 (captions by cross-attention in every block);
    Patil et al. 2024, aMUSEd, arXiv:2401.01808 (boxes among the masks).
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import Context, CrossAttention, grid_rope
from vqpriors.nn.blocks import Block, Head, initialise
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.text_tower import TextTower
from vqpriors.priors.base.masked import estimate_bound, fill
from vqpriors.priors.base.masking import (
    MaskSchedule,
    box_keys,
    lowest_k_mask,
    mask_counts,
    mask_ratio,
    masked_cross_entropy,
)
from vqpriors.priors.base.prior import Batch, text_of


class Config(Section):
    """`prior.cftn` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    text_depth: int = Field(ge=0)
    positions: Literal["rope", "learned"]
    dropout: float = Field(ge=0, lt=1)
    mask_schedule: MaskSchedule
    box_mask_prob: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class DecodingState:
    """The caption's keys and values for each block, shared by all decoding steps."""

    contexts: list[Context | None]


class CFTN(nn.Module):
    """Bidirectional transformer over masked codes; a `MaskedPrior`."""

    primitive = "masked"
    is_captioner = False
    is_exact = False
    latent_width = 0
    rope: Tensor | None

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        width: int,
        depth: int,
        heads: int,
        text_depth: int,
        positions: str,
        dropout: float,
        mask_schedule: MaskSchedule,
        box_mask_prob: float,
        label_smoothing: float,
    ):
        super().__init__()
        if width % heads or (positions == "rope" and width // heads % 4):
            raise ValueError(
                "prior.cftn.heads: must divide width into heads of a multiple of 4, "
                f"got heads={heads}, width={width}; change one of them in params.yaml"
            )
        self.grid, self.length, self.mask_token = grid, grid[0] * grid[1], codebook_size
        self.num_draws = 5 + self.length
        self.mask_schedule: MaskSchedule = mask_schedule
        self.box_mask_prob, self.label_smoothing = box_mask_prob, label_smoothing
        self.measured: dict[str, Tensor] = {}
        has_text = text.length > 0
        self.text_tower = (
            TextTower(shape=text, width=width, depth=text_depth, heads=heads, dropout=dropout)
            if has_text
            else None
        )
        self.embedding = nn.Embedding(codebook_size + 1, width)
        self.positions = nn.Embedding(self.length, width) if positions == "learned" else None
        rope = grid_rope(*grid, width // heads)[:, 1:] if positions == "rope" else None
        self.register_buffer("rope", rope, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=has_text)
            for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, codebook_size, bias=False)
        initialise(self, depth=depth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "masked_nats", the mean cross-entropy at masked codes; smoothed in training."""
        codes, draws = batch["codes"], batch["draws"]
        mask = self._mask(draws)
        tokens = codes.masked_fill(mask, self.mask_token)
        logits = self.logits(tokens, self.start(text_of(batch)), mask)
        smoothing = self.label_smoothing if self.training else 0.0
        loss, accuracy = masked_cross_entropy(logits, codes[mask], smoothing=smoothing)
        self.measured = {"visual_accuracy": accuracy}
        return {"masked_nats": loss}

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Estimate an upper bound on the negative log-likelihood; see `Prior.nats`."""
        return estimate_bound(self, codes, text, noise)

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones, in one pass; see `Prior.fill`."""
        return fill(self, codes, mask, text)

    def start(self, text: TextInput, latent: Tensor | None = None) -> DecodingState:
        """Compute the caption's keys and values for every block; `latent` is not used."""
        if self.text_tower is None:
            return DecodingState([None] * len(self.blocks))
        vectors = self.text_tower(text)
        layers = [cast(CrossAttention, block.cross_attention) for block in self.blocks]
        return DecodingState([(layer.keys_values(vectors), text.text_mask) for layer in layers])

    def logits(self, tokens: Tensor, state: DecodingState, mask: Tensor) -> Tensor:
        """Return the logits of masked cells, (M, K) float; see `MaskedPrior.logits`."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        x = self.dropout(x.to(working_dtype(x)))
        for block, context in zip(self.blocks, state.contexts, strict=True):
            x = block(x, is_causal=False, rope=self.rope, context=context)
        return self.head(self.norm(x[mask]))

    def _mask(self, draws: Tensor) -> Tensor:
        counts = mask_counts(mask_ratio(draws[:, 0], self.mask_schedule), self.length)
        is_box = draws[:, 1:2] < self.box_mask_prob
        keys = torch.where(is_box, box_keys(draws[:, 2:5], self.grid), draws[:, 5:])
        return lowest_k_mask(keys, counts)


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> CFTN:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return CFTN(grid=grid, codebook_size=codebook_size, text=text, **settings)
