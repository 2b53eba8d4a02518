"""CFTN, conditional flow transformer network: guesses any codes from any others and the caption.

References:
    Chang et al. 2022, MaskGIT, arXiv:2202.04200 (training on random masks);
    Chang et al. 2023, Muse, arXiv:2301.00704 (captions by cross-attention in every block);
    Patil et al. 2024, aMUSEd, arXiv:2401.01808 (rectangles among the masks).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import grid_rotation
from vqpriors.nn.blocks import Block, Head, initialise
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.text_tower import TextTower
from vqpriors.priors.base.masked import bound, fill
from vqpriors.priors.base.masking import (
    Schedule,
    guessed,
    lowest,
    mask_counts,
    mask_ratio,
    rectangle_keys,
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
    mask_schedule: Schedule
    box_mask_prob: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


TextSide = tuple[tuple[Tensor, Tensor], Tensor] | None


@dataclass
class State:
    """What all passes over a picture share: each block's keys and values of the text."""

    text: list[TextSide]


class CFTN(nn.Module):
    """A bidirectional transformer over masked codes; see `MaskedPrior` for what it offers."""

    primitive = "masked"
    is_captioner = False
    is_exact = False
    latent_width = 0
    turns: Tensor | None

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
        mask_schedule: Schedule,
        box_mask_prob: float,
        label_smoothing: float,
    ):
        super().__init__()
        if width % heads or (positions == "rope" and width // heads % 4):
            raise ValueError(
                "prior.cftn.heads: must divide width into heads of a multiple of 4, "
                f"got heads={heads}, width={width}; change one of them in params.yaml"
            )
        self.grid, self.length, self.mask = grid, grid[0] * grid[1], codebook_size
        self.num_draws = 5 + self.length
        self.mask_schedule: Schedule = mask_schedule
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
        turns = grid_rotation(*grid, width // heads)[:, 1:] if positions == "rope" else None
        self.register_buffer("turns", turns, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=has_text)
            for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, codebook_size, bias=False)
        initialise(self, depth=depth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "masked_nats", a masked code's mean surprise; smoothed in training."""
        codes, draws = batch["codes"], batch["draws"]
        is_masked = self._mask(draws)
        tokens = codes.masked_fill(is_masked, self.mask)
        logits = self.logits(tokens, self.start(text_of(batch)), is_masked)
        smoothing = self.label_smoothing if self.training else 0.0
        loss, accuracy = guessed(logits, codes[is_masked], smoothing=smoothing)
        self.measured = {"visual_accuracy": accuracy}
        return {"masked_nats": loss}

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return an estimate of each picture's bound, (B,) float32 nats; see `Prior.nats`."""
        return bound(self, codes, text, noise)

    def fill(self, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
        """Guess hidden cells in one pass; see `Prior.fill`."""
        return fill(self, codes, is_hidden, text)

    def start(self, text: TextInput, latent: Tensor | None = None) -> State:
        """Return the text's keys and values for every block; there is no latent."""
        if self.text_tower is None:
            return State([None] * len(self.blocks))
        vectors = self.text_tower(text)
        layers = [block.cross_attention for block in self.blocks]
        return State([(layer.keys_values(vectors), text.is_real) for layer in layers])  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue] nn.ModuleList forgets what it holds

    def logits(self, tokens: Tensor, state: State, is_wanted: Tensor) -> Tensor:
        """Return the logits of wanted cells, (M, K) float; see `MaskedPrior.logits`."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        x = self.dropout(x.to(working_dtype(x)))
        for block, side in zip(self.blocks, state.text, strict=True):
            x = block(x, is_causal=False, turns=self.turns, text=side)
        return self.head(self.norm(x[is_wanted]))

    def _mask(self, draws: Tensor) -> Tensor:
        counts = mask_counts(mask_ratio(draws[:, 0], self.mask_schedule), self.length)
        is_rectangle = draws[:, 1:2] < self.box_mask_prob
        keys = torch.where(is_rectangle, rectangle_keys(draws[:, 2:5], self.grid), draws[:, 5:])
        return lowest(keys, counts)


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> CFTN:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return CFTN(grid=grid, codebook_size=codebook_size, text=text, **settings)
