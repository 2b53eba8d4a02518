"""Several projections of one input in one matrix product."""

from torch import nn


class FusedLinear(nn.Linear):
    """Linear layer of which equal blocks of outputs are projections of their own.

    Args:
        in_features: Width of the input.
        out_features: Width of all outputs together.
        num_fused: Number of projections; divides `out_features`.
        bias: Whether to add a bias.

    Attributes:
        num_fused: Muon takes a step for each projection's block of rows. Any module may have it,
            for all of its matrices.
    """

    def __init__(self, in_features: int, out_features: int, *, num_fused: int, bias: bool):
        super().__init__(in_features, out_features, bias=bias)
        self.num_fused = num_fused
