"""Dropout whose masks take a third of the time of torch's on CPUs."""

import torch
from torch import Tensor, nn

CHOICES = 2**16  # values of the 16 random bits that are compared with the rate


class Dropout(nn.Dropout):
    """torch's dropout, but on CPUs with 16 random bits for each element.

    There, the rate is rounded to a multiple of 1/65,536. torch draws a float for each element, in
    one thread: for 1.3 million elements it takes 11 ms where this takes 3.3 ms.

    Args:
        p: Probability that an element is dropped.

    Reference:
        Srivastava et al. 2014, Dropout.
    """

    def __init__(self, p: float):
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """Map a tensor of any shape to one of the same shape and dtype."""
        is_plain = input.device.type != "cpu" or torch.compiler.is_compiling()
        num_kept = round((1 - self.p) * CHOICES)
        if not self.training or is_plain or num_kept in (0, CHOICES):
            return super().forward(input)
        keep = _random_int16(input) < num_kept - CHOICES // 2
        return input * keep.to(input.dtype).mul_(CHOICES / num_kept)


def _random_int16(like: Tensor) -> Tensor:
    # From all 64 bits of the generator's numbers, the lowest to the highest.
    count = like.numel()
    numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[:count].view(like.shape)
