"""A layer of an LSTM over a raster, with a view of the cells above and of the caption.

References:
    Hochreiter & Schmidhuber 1997, Long Short-Term Memory;
    van den Oord et al. 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759 (LSTMs over a
    raster, inputs from the row above, residual connections between layers);
    Gers et al. 2000, Learning to Forget (a forget gate that starts open).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import CrossAttention
from vqpriors.nn.blocks import SwiGLU
from vqpriors.nn.norm import RMSNorm


@dataclass
class Side:
    """The text as one layer takes it, computed once a picture.

    Attributes:
        pooled: Mean over the caption's real tokens, (B, D) float.
        keys_values: Of the caption's tokens, for attention.
        is_real: False at padding, (B, L) bool.
    """

    pooled: Tensor
    keys_values: tuple[Tensor, Tensor]
    is_real: Tensor


@dataclass
class Memory:
    """What one layer keeps between steps.

    Attributes:
        hidden: The LSTM's output, (B, D) float.
        cell: The LSTM's cell, (B, D) float.
        inputs: The layer's inputs so far after `reach` rows of zeros, (B, reach + N, D) float.
        weight: The LSTM's, of input and recurrence side by side, (4 D, 2 D), of the precision of
            products.
        bias: The sum of both biases, (4 D,) float.
    """

    hidden: Tensor
    cell: Tensor
    inputs: Tensor
    weight: Tensor
    bias: Tensor


class RecurrentLayer(nn.Module):
    """Attend to the text, run an LSTM that also sees the cells above, then feed forward."""

    is_fsdp_unit = True
    fsdp_float32 = True  # products in bfloat16 would round the cell at every step

    def __init__(self, *, width: int, heads: int, looks: list[int], dropout: float, has_text: bool):
        """Build a layer.

        Args:
            width: D of stream and LSTM.
            heads: Of the attention to the text.
            looks: How many steps back the LSTM's further inputs lie; may be empty.
            dropout: Share of each residual that is dropped in training.
            has_text: Whether the text sets the first state, which else is 0, and is attended to.
        """
        super().__init__()
        self.looks, self.reach = [*looks, 0], max([*looks, 0])
        self.cross_norm = RMSNorm(width) if has_text else None
        self.cross_attention = (
            CrossAttention(width=width, heads=heads, dropout=dropout) if has_text else None
        )
        self.norm = RMSNorm(width)
        self.mix = nn.Linear(len(self.looks) * width, width, bias=False) if looks else None
        self.first = nn.Linear(width, 2 * width) if has_text else None
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.feed_norm = RMSNorm(width)
        self.feed_forward = SwiGLU(width=width, dropout=dropout)

    def side(self, vectors: Tensor, is_real: Tensor, *, are_kept: bool = False) -> Side | None:
        """Return what this layer takes of the text's vectors, (B, L, D); None without text.

        With `are_kept` it is for `step`.
        """
        if self.cross_attention is None:
            return None
        mask = is_real[:, :, None]
        pooled = (vectors * mask).sum(1) / mask.sum(1)
        pair = self.cross_attention.keys_values(vectors, are_kept=are_kept)
        return Side(pooled, pair, is_real)

    def forward(self, x: Tensor, side: Side | None) -> Tensor:
        """Map (B, N, D) to (B, N, D)."""
        x = self._read(x, side)
        inputs = F.pad(self.norm(x), (0, 0, self.reach, 0))  # (B, reach + N, D)
        mixed = self._mix(inputs, start=self.reach, length=x.shape[1])
        hidden, cell = self._first(side, batch=len(x))
        # Products in bfloat16 would round the cell at every step, and take longer on CPUs.
        with torch.autocast(x.device.type, enabled=False):
            out, _ = self.lstm(mixed.to(cell.dtype), (hidden[None], cell[None]))
        x = x + self.dropout(out)
        return x + self.feed_forward(self.feed_norm(x))

    def start(self, side: Side | None, *, batch: int, length: int) -> Memory:
        """Return the memory before the first of N steps."""
        for_input, for_hidden, input_bias, hidden_bias = self.lstm.all_weights[0]
        hidden, cell = self._first(side, batch=batch)
        inputs = cell.new_zeros(batch, self.reach + length, cell.shape[1])
        weight = torch.cat([for_input, for_hidden], dim=1).to(working_dtype(for_input))
        return Memory(hidden, cell, inputs, weight, input_bias + hidden_bias)

    def step(self, x: Tensor, side: Side | None, memory: Memory, *, position: int) -> Tensor:
        """Do `forward` for one position, (B, 1, D), and change the memory in place."""
        x, place = self._read(x, side), self.reach + position
        memory.inputs[:, place] = self.norm(x[:, 0])
        mixed = self._mix(memory.inputs, start=place, length=1)[:, 0]
        joined = torch.cat([mixed.to(memory.hidden.dtype), memory.hidden], dim=1)
        gates = F.linear(joined, memory.weight, memory.bias).to(memory.cell.dtype)
        write, keep, value, show = gates.chunk(4, dim=1)
        memory.cell = keep.sigmoid() * memory.cell + write.sigmoid() * value.tanh()
        memory.hidden = show.sigmoid() * memory.cell.tanh()
        x = x + memory.hidden[:, None]
        return x + self.feed_forward(self.feed_norm(x))

    @torch.no_grad()
    def initialise(self) -> None:
        """Keep the variance of what is seen, and remember by default."""
        if self.mix is not None:
            nn.init.normal_(self.mix.weight, std=self.mix.in_features**-0.5)
        self.lstm.all_weights[0][2].chunk(4)[1].fill_(1.0)

    def _mix(self, inputs: Tensor, *, start: int, length: int) -> Tensor:
        views = [inputs[:, start - back : start - back + length] for back in self.looks]
        return views[0] if self.mix is None else self.mix(torch.cat(views, dim=2))

    def _read(self, x: Tensor, side: Side | None) -> Tensor:
        if self.cross_norm is None or self.cross_attention is None or side is None:
            return x
        return x + self.cross_attention(self.cross_norm(x), side.keys_values, side.is_real)

    def _first(self, side: Side | None, *, batch: int) -> tuple[Tensor, Tensor]:
        like = self.lstm.all_weights[0][0]
        if self.first is None or side is None:
            zeros = like.new_zeros(batch, self.lstm.hidden_size)
            return zeros, zeros
        hidden, cell = self.first(side.pooled).to(like.dtype).chunk(2, dim=1)
        return hidden.tanh().contiguous(), cell.contiguous()
