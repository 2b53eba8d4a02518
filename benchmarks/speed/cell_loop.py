"""A plain LSTM over codes, drawn from in a loop over torch's cells: the peer of `lstm`."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed import ours
from benchmarks.speed.contest import Side
from benchmarks.speed.sizes import Size
from vqpriors.core.hardware import Precision


class CellLoop(nn.Module):
    """Embedding, cells on top of each other, output layer."""

    def __init__(self, *, num_codes: int, width: int, depth: int):
        super().__init__()
        self.width, self.begin = width, num_codes
        self.embedding = nn.Embedding(num_codes + 1, width)
        self.cells = nn.ModuleList(nn.LSTMCell(width, width) for _ in range(depth))
        self.head = nn.Linear(width, num_codes, bias=False)

    @torch.inference_mode()
    def draw(self, count: int, length: int) -> Tensor:
        """Draw the codes of some pictures, (B, N) int64."""
        zeros = self.head.weight.new_zeros(count, self.width)
        states = [(zeros, zeros) for _ in self.cells]
        token, codes = torch.full((count,), self.begin), []
        for _ in range(length):
            x = self.embedding(token)
            for layer, cell in enumerate(self.cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
            token = self.head(x).float().softmax(-1).multinomial(1)[:, 0]
            codes.append(token)
        return torch.stack(codes, dim=1)


def cell_loop(width: int, size: Size, count: int, precision: Precision) -> Side:
    """Return a loop that draws some pictures, in bfloat16 with weights turned to it once."""
    model = CellLoop(num_codes=size.num_codes, width=width, depth=ours.LSTM_DEPTH)
    model = model.to(ours.DTYPES[precision])
    run = partial(model.draw, count, size.length)
    return Side(f"loop over LSTMCell, width {width}", run, ours.num_parameters(model), "torch")
