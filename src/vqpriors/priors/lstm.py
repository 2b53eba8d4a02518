"""Stacked LSTM over the grid of codes in raster order, with a view of the row above.

The caption sets the first state of every layer, is an input at each step, and is attended to before
the head. Each layer sees its input at this cell and at those whose codes are above and above-right,
so that what a raster keeps a row away need not be remembered for a row.

References:
    Hochreiter & Schmidhuber 1997, Long Short-Term Memory;
    van den Oord et al. 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759 (LSTMs over a
    raster, inputs from the row above, residual connections between layers).
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqpriors.conditioning import TextInput, TextShape
from vqpriors.nn.attention import CrossAttention
from vqpriors.nn.blocks import initialise
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.text import TextTower
from vqpriors.params import Section
from vqpriors.phases import Phase
from vqpriors.priors import Batch, text_of
from vqpriors.priors._stepwise import code_losses, code_nats, fill


class Config(Section):
    """`prior.lstm` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    text_depth: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class Memory:
    """What one layer keeps between steps.

    Attributes:
        hidden: The LSTM's output, (B, D) float.
        cell: The LSTM's cell, (B, D) float.
        inputs: The layer's inputs so far after `reach` rows of zeros, (B, reach + N, D) float.
        weights: Of input and recurrence side by side, (4 D, 2 D), and their bias, (4 D,).
    """

    hidden: Tensor
    cell: Tensor
    inputs: Tensor
    weights: tuple[Tensor, Tensor]


@dataclass
class Text:
    """The text side, computed once a picture.

    Attributes:
        pooled: Mean over the caption's real tokens, (B, 1, D) float.
        keys_values: For the attention before the head.
        is_real: False at padding, (B, L) bool.
    """

    pooled: Tensor
    keys_values: tuple[Tensor, Tensor]
    is_real: Tensor


@dataclass
class State:
    """What one step needs of the steps before."""

    position: int
    memories: list[Memory]
    text: Text | None


class Layer(nn.Module):
    """Normalise, look at the cells above, run the LSTM, add to the residual stream."""

    def __init__(self, *, width: int, looks: list[int], dropout: float, has_text: bool):
        """Build a layer.

        Args:
            width: D of stream and LSTM.
            looks: How many steps back the further inputs lie, largest first; may be empty.
            dropout: Share of the outputs dropped in training.
            has_text: Whether the text sets the first state, which else is 0.
        """
        super().__init__()
        self.looks, self.reach = [*looks, 0], max([*looks, 0])
        self.norm = RMSNorm(width)
        self.mix = nn.Linear(len(self.looks) * width, width, bias=False) if looks else None
        self.first = nn.Linear(width, 2 * width) if has_text else None
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pooled: Tensor | None) -> Tensor:
        """Map (B, N, D) to (B, N, D), given the pooled text, (B, 1, D)."""
        inputs = F.pad(self.norm(x), (0, 0, self.reach, 0))  # (B, reach + N, D)
        mixed = self._mix(inputs, start=self.reach, length=x.shape[1])
        # Products in bfloat16 would round the cell at every step, and take longer on CPUs.
        with torch.autocast(x.device.type, enabled=False):
            hidden, cell = self._first(x, pooled)
            weight = self.lstm.weight_hh_l0
            out, _ = self.lstm(mixed.to(weight.dtype), (hidden[None], cell[None]))
        return x + self.dropout(out)

    def start(self, pooled: Tensor | None, *, batch: int, length: int) -> Memory:
        """Return the memory before the first of N steps."""
        lstm = self.lstm
        blank = lstm.weight_hh_l0.new_zeros(batch, self.reach + length, lstm.hidden_size)
        with torch.autocast(blank.device.type, enabled=False):
            hidden, cell = self._first(blank, pooled)
        weight = torch.cat([lstm.weight_ih_l0, lstm.weight_hh_l0], dim=1)
        return Memory(hidden, cell, blank, (weight, lstm.bias_ih_l0 + lstm.bias_hh_l0))

    def step(self, x: Tensor, memory: Memory, *, position: int) -> Tensor:
        """Do `forward` for one position, (B, 1, D), and change the memory in place."""
        place = self.reach + position
        memory.inputs[:, place] = self.norm(x[:, 0])
        mixed = self._mix(memory.inputs, start=place, length=1)[:, 0]
        with torch.autocast(x.device.type, enabled=False):
            joined = torch.cat([mixed.to(memory.hidden.dtype), memory.hidden], dim=1)
            write, keep, value, show = F.linear(joined, *memory.weights).chunk(4, dim=1)
            memory.cell = keep.sigmoid() * memory.cell + write.sigmoid() * value.tanh()
            memory.hidden = show.sigmoid() * memory.cell.tanh()
        return x + memory.hidden[:, None]

    def _mix(self, inputs: Tensor, *, start: int, length: int) -> Tensor:
        views = [inputs[:, start - back : start - back + length] for back in self.looks]
        return views[0] if self.mix is None else self.mix(torch.cat(views, dim=2))

    def _first(self, like: Tensor, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        dtype = self.lstm.weight_hh_l0.dtype
        if self.first is None or pooled is None:
            zeros = like.new_zeros(len(like), like.shape[2], dtype=dtype)
            return zeros, zeros
        hidden, cell = self.first(pooled[:, 0].to(dtype)).chunk(2, dim=1)
        return hidden.tanh().contiguous(), cell.contiguous()


class LSTM(nn.Module):
    """A recurrent prior; see `StepwisePrior` for what it offers.

    Attributes:
        length: Number of tokens N.
        begin: The token that stands before the first code.
    """

    sampler = "autoregressive"

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
        dropout: float,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(
                f"prior.lstm.heads: must divide width, got heads={heads}, width={width}; "
                "change one of them in params.yaml"
            )
        self.length, self.begin = grid[0] * grid[1], codebook_size
        has_text = text.length > 0
        sizes = {"width": width, "heads": heads, "dropout": dropout}
        self.text_tower = TextTower(shape=text, depth=text_depth, **sizes) if has_text else None
        self.text_norm = RMSNorm(width) if has_text else None
        self.text_attention = CrossAttention(**sizes) if has_text else None
        self.embedding = nn.Embedding(codebook_size + 1, width)
        self.rows, self.columns = nn.Embedding(grid[0], width), nn.Embedding(grid[1], width)
        # The input of step i is code i - 1: the code above is `columns - 1` inputs back.
        looks = [back for back in (grid[1] - 1, grid[1] - 2) if back > 0]
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(width=width, looks=looks, dropout=dropout, has_text=has_text)
            for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, codebook_size, bias=False)
        initialise(self, depth=depth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "nats_per_token", a code's mean negative log-likelihood given those before."""
        return code_losses(self.logits(batch["codes"], text_of(batch)), batch["codes"])

    def nats(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return each picture's exact negative log-likelihood in nats, (B,) float32."""
        return code_nats(self.logits(codes, text), codes)

    def logits(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the logits of every code given those before it.

        Args:
            codes: (B, N) int64, raster order; the last is not looked at.
            text: The captions.

        Returns:
            (B, N, K) float.
        """
        side = self._text(text)
        begin = torch.full_like(codes[:, :1], self.begin)
        x = self._embed(torch.cat([begin, codes[:, :-1]], dim=1), side, position=0)
        for layer in self._layers():
            x = layer(x, None if side is None else side.pooled)
        return self._read(x, side)

    def start(self, text: TextInput) -> State:
        """Return the state before the first step, with the text side computed once."""
        side = self._text(text)
        pooled = None if side is None else side.pooled
        sizes = {"batch": len(text.tokens), "length": self.length}
        return State(0, [layer.start(pooled, **sizes) for layer in self._layers()], side)

    def step(self, token: Tensor, state: State) -> Tensor:
        """Return the next code's logits, (B, K) float, given the token before, (B,) int64."""
        x = self._embed(token[:, None], state.text, position=state.position)
        for layer, memory in zip(self._layers(), state.memories, strict=True):
            x = layer.step(x, memory, position=state.position)
        state.position += 1
        return self._read(x, state.text)[:, 0]

    def fill(self, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
        """Replace hidden codes by the likeliest ones; see `vqpriors.priors._stepwise.fill`."""
        return fill(self, codes, is_hidden, text)

    def _layers(self) -> list[Layer]:
        return cast(list[Layer], list(self.layers))

    def _embed(self, tokens: Tensor, side: Text | None, *, position: int) -> Tensor:
        width = self.rows.weight.shape[1]
        places = (self.rows.weight[:, None] + self.columns.weight).view(-1, width)  # (N, D)
        x = self.embedding(tokens) + places[position : position + tokens.shape[1]]
        return self.dropout(x if side is None else x + side.pooled)

    def _text(self, text: TextInput) -> Text | None:
        if self.text_tower is None or self.text_attention is None:
            return None
        vectors, is_real = self.text_tower(text), text.is_real[:, :, None]
        pooled = (vectors * is_real).sum(1, keepdim=True) / is_real.sum(1, keepdim=True)
        return Text(pooled, self.text_attention.keys_values(vectors), text.is_real)

    def _read(self, x: Tensor, side: Text | None) -> Tensor:
        if self.text_norm is not None and self.text_attention is not None and side is not None:
            x = x + self.text_attention(self.text_norm(x), side.keys_values, side.is_real)
        return self.head(self.norm(x))


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> LSTM:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not divide the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return LSTM(grid=grid, codebook_size=codebook_size, text=text, **settings)
