"""Linear layers of transformers.

Reference:
    Radford et al. 2019, GPT-2 (residual layers scaled down by depth).
"""

from torch import Tensor, nn

from vqpriors.nn import compiled_linear


class Linear(nn.Linear):
    """A linear layer without a bias, computed in C if that is wanted and possible."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., inputs) float to (..., outputs)."""
        if compiled_linear.is_usable(input, self.weight):
            return compiled_linear.linear(input, self.weight)
        return super().forward(input)


class ResidualLinear(Linear):
    """A linear layer whose output is added to the residual stream; see `blocks.initialise`."""
