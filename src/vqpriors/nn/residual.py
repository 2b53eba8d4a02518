"""The output projection of a residual branch, initialised at a smaller scale than other layers.

Reference:
    Radford et al. 2019, GPT-2 (residual layers scaled down by depth).
"""

from torch import nn


class ResidualLinear(nn.Linear):
    """A linear layer whose output is added to the residual stream; see `blocks.initialise`."""
