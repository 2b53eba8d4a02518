"""Pre-norm transformer blocks: self-attention, optional cross-attention to text, SwiGLU.

Reference:
    Shazeer 2020, GLU Variants Improve Transformer, arXiv:2002.05202.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn.attention import CrossAttention, KeyValueCache, SelfAttention
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.residual import ResidualLinear


class Head(nn.Linear):
    """The projection to logits.

    Attributes:
        uses_adamw: Tells the optimizer to update the weight by AdamW, also beside Muon, which is
            for matrices of hidden layers.
    """

    uses_adamw = True


class SwiGLU(nn.Module):
    """Gated feed-forward layer, about as large as a plain one of 4 x width."""

    def __init__(self, *, width: int, dropout: float):
        super().__init__()
        hidden = 32 * -(-width * 8 // (3 * 32))
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = ResidualLinear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.dropout(self.down(F.silu(gate) * up))


class Block(nn.Module):
    """One layer; with `has_text` it also attends to the caption."""

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
        turns: Tensor | None = None,
        is_real: Tensor | None = None,
        text: tuple[tuple[Tensor, Tensor], Tensor] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map (B, N, D) to (B, N, D).

        Args:
            x: The layer's input.
            is_causal: As `SelfAttention.forward`.
            turns: As `SelfAttention.forward`.
            is_real: As `SelfAttention.forward`.
            text: The text's keys and values for this layer, and where it is real, (B, L) bool.
            cache: As `SelfAttention.forward`.
        """
        x = x + self.self_attention(
            self.self_norm(x), is_causal=is_causal, turns=turns, is_real=is_real, cache=cache
        )
        if self.cross_norm is not None and self.cross_attention is not None and text is not None:
            x = x + self.cross_attention(self.cross_norm(x), *text)
        return x + self.feed_forward(self.feed_norm(x))


def initialise(module: nn.Module, *, depth: int) -> None:
    """Initialise a transformer's weights; each `ResidualLinear` is scaled down by depth.

    Args:
        module: The whole network.
        depth: Number of blocks on the residual path.

    Reference:
        Radford et al. 2019, GPT-2 (std 0.02, residual layers divided by sqrt(2 depth)).
    """
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            is_residual = isinstance(child, ResidualLinear)
            nn.init.normal_(child.weight, std=0.02 / (2 * depth) ** 0.5 if is_residual else 0.02)
