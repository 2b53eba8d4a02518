"""Stacked LSTM over the codes in raster order, with inputs from the row above.

The caption sets the initial state of every LSTM and enters each step by cross-attention. Each LSTM
also gets the inputs that it had at the codes above and above right. These neighbours lie a whole
row back in raster order; this way it need not remember them.

References:
    Hochreiter & Schmidhuber 1997, Long Short-Term Memory;
    van den Oord et al. 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759 (LSTMs over a
    raster, inputs from the row above, residual connections between layers).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.blocks import Head, Projection, initialise
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.graphs import record, try_recording
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.products import make_product
from vqpriors.nn.text_tower import TextTower
from vqpriors.priors.base.prior import Batch, text_of
from vqpriors.priors.base.stepwise import code_losses, code_nats, fill
from vqpriors.priors.lstm.recurrence import LayerState, RecurrentLayer, TextContext


class Config(Section):
    """`prior.lstm` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    text_depth: int = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class DecodingState:
    """The state between steps.

    Attributes:
        token: Input of the recorded step, (B,) int64; not used without one.
        place: Position of the next step, (1,) int64.
        layers: The state of each layer.
        contexts: The encoded caption for each layer.
        head: Product of `LSTM.head`.
        replay: The step as a CUDA graph; None where there is none.
    """

    token: Tensor
    place: Tensor
    layers: list[LayerState]
    contexts: list[TextContext | None]
    head: Projection
    replay: Callable[[], Tensor] | None = None

    def written(self) -> list[Tensor]:
        """Return the tensors that steps write in place."""
        layers = [(layer.hidden, layer.cell, layer.inputs) for layer in self.layers]
        return [self.place, *(tensor for tensors in layers for tensor in tensors)]


class LSTM(nn.Module):
    """Stacked LSTM over codes; a `StepwisePrior`.

    Attributes:
        length: Number of codes N.
        begin: The start token, which comes before the first code.
    """

    primitive = "stepwise"
    is_captioner = False
    is_exact = True
    num_draws = 0

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
        self.embedding = nn.Embedding(codebook_size + 1, width)
        self.rows, self.columns = nn.Embedding(grid[0], width), nn.Embedding(grid[1], width)
        # The input of step i is code i - 1, so the code above is `columns - 1` inputs back.
        offsets = [back for back in (grid[1] - 1, grid[1] - 2) if back > 0]
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            RecurrentLayer(offsets=offsets, has_text=has_text, **sizes) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, codebook_size)
        initialise(self, depth=depth)
        for layer in self._layers():
            layer.initialise()

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
        tokens = torch.cat([begin, codes[:, :-1]], dim=1)
        x = self._embed(tokens, positions=torch.arange(tokens.shape[1], device=codes.device))
        for layer, context in zip(self._layers(), self._contexts(text), strict=True):
            x = layer(x, context)
        return self.head(self.norm(x))

    def start(self, text: TextInput) -> DecodingState:
        """Encode the caption and return the state before the first step."""
        batch, contexts = len(text.tokens), self._contexts(text, for_cache=True)
        layers = [
            layer.start(context, batch=batch, length=self.length)
            for layer, context in zip(self._layers(), contexts, strict=True)
        ]
        weight = self.head.weight.to(working_dtype(self.head.weight))
        token = torch.full((batch,), self.begin, device=weight.device)
        head = make_product(weight, rows=batch)
        state = DecodingState(token, token.new_zeros(1), layers, contexts, head)
        state.replay = try_recording(lambda: self._record(state), like=weight)
        return state

    def step(self, token: Tensor, state: DecodingState) -> Tensor:
        """Return the next code's logits, (B, K) float, given the token before, (B,) int64."""
        if state.replay is None:
            return self._step(token, state)
        state.token.copy_(token)
        return state.replay().clone()

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones; see `vqpriors.priors.base.stepwise.fill`."""
        return fill(self, codes, mask, text)

    def _layers(self) -> list[RecurrentLayer]:
        return cast(list[RecurrentLayer], list(self.layers))

    def _step(self, token: Tensor, state: DecodingState) -> Tensor:
        x = self._embed(token[:, None], positions=state.place)
        layers = zip(self._layers(), state.contexts, state.layers, strict=True)
        for layer, context, layer_state in layers:
            x = layer.step(x, context, layer_state, state.place)
        state.place += 1
        return state.head(self.norm(x[:, 0]))

    def _record(self, state: DecodingState) -> Callable[[], Tensor]:
        start = [tensor.clone() for tensor in state.written()]

        def reset() -> None:
            for tensor, value in zip(state.written(), start, strict=True):
                tensor.copy_(value)

        device = state.token.device
        return record(lambda: self._step(state.token, state), device=device, reset=reset)

    def _embed(self, tokens: Tensor, *, positions: Tensor) -> Tensor:
        num_columns = self.columns.num_embeddings
        x = self.embedding(tokens) + self.rows(positions // num_columns)
        return self.dropout(x + self.columns(positions % num_columns))

    def _contexts(self, text: TextInput, *, for_cache: bool = False) -> list[TextContext | None]:
        if self.text_tower is None:
            return [None for _ in self.layers]
        vectors = self.text_tower(text)
        return [
            layer.text_context(vectors, text.text_mask, for_cache=for_cache)
            for layer in self._layers()
        ]


def build(config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape) -> LSTM:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not divide the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return LSTM(grid=grid, codebook_size=codebook_size, text=text, **settings)
