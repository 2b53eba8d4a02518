"""An LSTM layer over a grid in raster order, with inputs from the row above and the caption.

References:
    Hochreiter & Schmidhuber 1997, Long Short-Term Memory;
    van den Oord et al. 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759 (LSTMs over a
    raster, inputs from the row above, residual connections between layers);
    Gers et al. 2000, Learning to Forget (a forget gate that is open at first).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import CrossAttention
from vqpriors.nn.blocks import Projection, SwiGLU, swiglu
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.products import make_product


@dataclass
class TextContext:
    """The encoded caption for one layer, computed once per picture.

    Attributes:
        pooled: Mean over the caption's tokens without padding, (B, D) float.
        keys_values: Keys and values of the caption's tokens, for cross-attention.
        text_mask: False at padding, (B, L) bool.
    """

    pooled: Tensor
    keys_values: tuple[Tensor, Tensor]
    text_mask: Tensor


@dataclass
class LayerState:
    """The state of one layer between steps, and its LSTM's weights joined for fewer products.

    Steps write hidden, cell and inputs in place, so that they can be recorded as a CUDA graph;
    they have no gradients.

    Attributes:
        hidden: The LSTM's output, (B, D) float.
        cell: The LSTM's cell state, (B, D) float.
        inputs: `max_offset` zeros, then the inputs of all steps; (max_offset + N, B, D) float.
        join: Product of `RecurrentLayer.in_proj`.
        gates: Product with the LSTM's input and recurrent weights side by side, (4 D, 2 D), in the
            order of gates input, forget, output, cell.
        bias: The sum of both biases, (4 D,) float, in that order.
        gate_up: First product of the feed-forward layer.
        down: Its second product.
    """

    hidden: Tensor
    cell: Tensor
    inputs: Tensor
    join: Projection | None
    gates: Projection
    bias: Tensor
    gate_up: Projection
    down: Projection


class RecurrentLayer(nn.Module):
    """Cross-attention to the caption, an LSTM with inputs from the row above, feed-forward layer.

    Args:
        width: Width D of the residual stream and the LSTM.
        heads: Heads of the cross-attention.
        offsets: How many steps back the LSTM's further inputs lie; may be empty.
        dropout: Dropout rate of each residual branch.
        has_text: Whether there is a caption; it sets the initial state, which is 0 otherwise.
    """

    first: Tensor
    is_fsdp_unit = True
    fsdp_float32 = True  # products in bfloat16 would round the cell at every step

    def __init__(
        self, *, width: int, heads: int, offsets: list[int], dropout: float, has_text: bool
    ):
        super().__init__()
        self.offsets, self.max_offset = [*offsets, 0], max([*offsets, 0])
        # Where the inputs of step 0 are in `LayerState.inputs`.
        first = torch.tensor([self.max_offset - back for back in self.offsets])
        self.register_buffer("first", first, persistent=False)
        self.cross_norm = RMSNorm(width) if has_text else None
        self.cross_attention = (
            CrossAttention(width=width, heads=heads, dropout=dropout) if has_text else None
        )
        self.norm = RMSNorm(width)
        num_inputs = len(self.offsets)
        self.in_proj = nn.Linear(num_inputs * width, width, bias=False) if offsets else None
        self.initial_state = nn.Linear(width, 2 * width) if has_text else None
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = Dropout(dropout)
        self.feed_norm = RMSNorm(width)
        self.feed_forward = SwiGLU(width=width, dropout=dropout)

    def text_context(
        self, vectors: Tensor, text_mask: Tensor, *, for_cache: bool = False
    ) -> TextContext | None:
        """Return this layer's context of a caption's vectors, (B, L, D); None without text.

        `for_cache` selects the precision for `step`; see `CrossAttention.keys_values`.
        """
        if self.cross_attention is None:
            return None
        mask = text_mask[:, :, None]
        pooled = (vectors * mask).sum(1) / mask.sum(1)
        pair = self.cross_attention.keys_values(vectors, for_cache=for_cache)
        return TextContext(pooled, pair, text_mask)

    def forward(self, x: Tensor, context: TextContext | None) -> Tensor:
        """Map (B, N, D) to (B, N, D)."""
        x = self._attend(x, context)
        inputs = F.pad(self.norm(x), (0, 0, self.max_offset, 0))  # (B, max_offset + N, D)
        joined = self._join(inputs, start=self.max_offset, length=x.shape[1])
        hidden, cell = self._initial_state(context, batch=len(x))
        # bfloat16 would round the cell state at every step, and take longer on CPUs.
        with torch.autocast(x.device.type, enabled=False):
            out, _ = self.lstm(joined.to(cell.dtype), (hidden[None], cell[None]))
        x = x + self.dropout(out)
        return x + self.feed_forward(self.feed_norm(x))

    def start(self, context: TextContext | None, *, batch: int, length: int) -> LayerState:
        """Return the state before the first of `length` steps."""
        for_input, for_hidden, input_bias, hidden_bias = self.lstm.all_weights[0]
        hidden, cell = self._initial_state(context, batch=batch)
        inputs = cell.new_zeros(self.max_offset + length, batch, cell.shape[1])
        joined = torch.cat([for_input, for_hidden], dim=1)

        def product(weight: Tensor) -> Projection:
            return make_product(weight.to(working_dtype(weight)), rows=batch)

        return LayerState(
            hidden,
            cell,
            inputs,
            join=None if self.in_proj is None else product(self.in_proj.weight),
            gates=product(_sigmoids_first(joined)),
            bias=_sigmoids_first(input_bias + hidden_bias),
            gate_up=product(self.feed_forward.gate_up.weight),
            down=product(self.feed_forward.down.weight),
        )

    def step(
        self, x: Tensor, context: TextContext | None, state: LayerState, place: Tensor
    ) -> Tensor:
        """Compute `forward` for the next position, (B, 1, D), and update the state in place.

        Args:
            x: (B, 1, D) float.
            context: As from `text_context`.
            state: As from `start`.
            place: Number of steps before, (1,) int64.
        """
        x = self._attend(x, context)
        newest = self.norm(x[:, 0]).to(state.inputs.dtype)
        state.inputs.index_copy_(0, place + self.max_offset, newest[None])
        joined = newest
        if state.join is not None:
            inputs = state.inputs.index_select(0, place + self.first)
            joined = state.join(inputs.transpose(0, 1).flatten(1))
        joined = torch.cat([joined.to(state.hidden.dtype), state.hidden], dim=1)
        gates = state.gates(joined).to(state.cell.dtype) + state.bias
        width = state.cell.shape[1]
        i, f, o = gates[:, : 3 * width].sigmoid().chunk(3, dim=1)  # input, forget, output gate
        state.cell.copy_(f * state.cell + i * gates[:, 3 * width :].tanh())
        state.hidden.copy_(o * state.cell.tanh())
        y = x[:, 0] + state.hidden
        return (y + swiglu(self.feed_norm(y), state.gate_up, state.down))[:, None]

    @torch.no_grad()
    def initialise(self) -> None:
        """Preserve the variance of the inputs, and set the forget gate's bias to 1."""
        if self.in_proj is not None:
            nn.init.normal_(self.in_proj.weight, std=self.in_proj.in_features**-0.5)
        self.lstm.all_weights[0][2].chunk(4)[1].fill_(1.0)

    def _join(self, inputs: Tensor, *, start: int, length: int) -> Tensor:
        views = [inputs[:, start - back : start - back + length] for back in self.offsets]
        return views[0] if self.in_proj is None else self.in_proj(torch.cat(views, dim=2))

    def _attend(self, x: Tensor, context: TextContext | None) -> Tensor:
        if self.cross_norm is None or self.cross_attention is None or context is None:
            return x
        return x + self.cross_attention(self.cross_norm(x), context.keys_values, context.text_mask)

    def _initial_state(self, context: TextContext | None, *, batch: int) -> tuple[Tensor, Tensor]:
        like = self.lstm.all_weights[0][0]
        if self.initial_state is None or context is None:
            size = batch, self.lstm.hidden_size
            return like.new_zeros(size), like.new_zeros(size)  # two: both are written in place
        hidden, cell = self.initial_state(context.pooled).to(like.dtype).chunk(2, dim=1)
        return hidden.tanh().contiguous(), cell.clone()


def _sigmoids_first(gates: Tensor) -> Tensor:
    """Reorder torch's gates, (4 D, ...): input, forget, output, cell."""
    i, f, g, o = gates.chunk(4)
    return torch.cat([i, f, o, g])
