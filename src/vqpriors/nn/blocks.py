"""Pre-norm transformer blocks: self-attention, optional cross-attention, SwiGLU.

Reference:
    Shazeer 2020, GLU Variants Improve Transformer, arXiv:2002.05202.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn import compiled_layers, compiled_linear
from vqpriors.nn.attention import Context, CrossAttention, KeyValueCache, SelfAttention
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.linear import Linear, ResidualLinear
from vqpriors.nn.norm import RMSNorm

Projection = Callable[[Tensor], Tensor]


class Head(Linear):
    """Linear projection to logits.

    Attributes:
        uses_adamw: The weight is trained by AdamW even if hidden layers are trained by Muon.
    """

    uses_adamw = True


class SwiGLU(nn.Module):
    """Gated feed-forward layer with about as many weights as a plain one of 4 x width."""

    def __init__(self, *, width: int, dropout: float):
        super().__init__()
        hidden = 32 * -(-width * 8 // (3 * 32))
        self.gate_up = Linear(width, 2 * hidden)
        self.down = ResidualLinear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        weight = self.gate_up.weight
        # Only the backward pass needs gate and up, so here they are not written to memory.
        if not torch.is_grad_enabled() and compiled_linear.is_usable(x, weight):
            return self.dropout(self.down(compiled_linear.swiglu(x, weight)))
        return self.dropout(swiglu(x, self.gate_up, self.down))


def swiglu(x: Tensor, gate_up: Projection, down: Projection) -> Tensor:
    """Map (..., D) to (..., D) by two products; see `SwiGLU`."""
    both = gate_up(x)
    if compiled_layers.is_usable(both):
        return down(compiled_layers.swiglu(both))
    gate, up = both.chunk(2, dim=-1)
    return down(F.silu(gate) * up)


class Block(nn.Module):
    """Transformer block, with cross-attention to a caption if `has_text`."""

    is_fsdp_unit = True

    def __init__(self, *, width: int, heads: int, dropout: float, has_text: bool):
        super().__init__()
        self.self_norm = RMSNorm(width)
        self.self_attention = SelfAttention(width=width, heads=heads, dropout=dropout)
        self.cross_norm = RMSNorm(width) if has_text else None
        self.cross_attention = (
            CrossAttention(width=width, heads=heads, dropout=dropout) if has_text else None
        )
        self.feed_norm = RMSNorm(width)
        self.feed_forward = SwiGLU(width=width, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        *,
        is_causal: bool,
        rope: Tensor | None = None,
        padding_mask: Tensor | None = None,
        context: Context | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map (B, N, D) to (B, N, D).

        Args:
            x: The residual stream.
            is_causal: As `SelfAttention.forward`.
            rope: As `SelfAttention.forward`.
            padding_mask: As `SelfAttention.forward`.
            context: The caption's keys and values for this block, and its mask; None for none.
            cache: As `SelfAttention.forward`.
        """
        x = x + self.self_attention(
            self.self_norm(x),
            is_causal=is_causal,
            rope=rope,
            padding_mask=padding_mask,
            cache=cache,
        )
        if self.cross_norm is not None and self.cross_attention is not None and context is not None:
            x = x + self.cross_attention(self.cross_norm(x), *context)
        return x + self.feed_forward(self.feed_norm(x))


def initialise(module: nn.Module, *, depth: int) -> None:
    """Initialise a transformer's weights; each `ResidualLinear` is scaled down by depth.

    Args:
        module: The whole network.
        depth: Number of blocks along the residual stream.

    Reference:
        Radford et al. 2019, GPT-2 (std 0.02, residual layers divided by sqrt(2 depth)).
    """
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            is_residual = isinstance(child, ResidualLinear)
            nn.init.normal_(child.weight, std=0.02 / (2 * depth) ** 0.5 if is_residual else 0.02)
