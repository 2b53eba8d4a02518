"""Two transformer towers, over codes and over caption tokens, and gated bridges between them.

References:
    Alayrac et al. 2022, Flamingo, arXiv:2204.14198 (cross-attention with a tanh gate that is
    closed at first);
    Lu et al. 2019, ViLBERT, arXiv:1908.02265 (two streams, each attending to the other).
"""

from typing import cast

import torch
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import Context, CrossAttention
from vqpriors.nn.blocks import Block, Head
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.norm import RMSNorm
from vqpriors.priors.base.cells import Cells

GATE_LR_SCALE = 8.0
"""Adam moves a parameter by about lr a step; this factor lets gates open within an epoch."""


class Tower(nn.Module):
    """Bidirectional transformer over tokens of one modality, of which any may be masked.

    Args:
        num_tokens: Number of tokens V; the mask token is V.
        length: Number of positions N.
        width: Width D.
        depth: Number of blocks.
        heads: Attention heads.
        dropout: Dropout rate.
        rope: Rotary positions, (2, N, head_width); None for learned ones.
    """

    rope: Tensor | None

    def __init__(
        self,
        *,
        num_tokens: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        rope: Tensor | None = None,
    ):
        super().__init__()
        self.mask_token = num_tokens
        self.embedding = nn.Embedding(num_tokens + 1, width)
        self.positions = nn.Embedding(length, width) if rope is None else None
        self.register_buffer("rope", rope, persistent=False)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, num_tokens)

    def embed(self, tokens: Tensor, extra: Tensor | None = None) -> Tensor:
        """Embed tokens, (B, N) int64, and add `extra`, of a shape that broadcasts to (B, N, D)."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        if extra is not None:
            x = x + extra
        return self.dropout(x.to(working_dtype(x)))

    def run_block(self, layer: int, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Run one block; (B, N, D) to (B, N, D)."""
        return self.blocks[layer](x, is_causal=False, rope=self.rope, padding_mask=padding_mask)

    def hidden_states(self, x: Tensor, padding_mask: Tensor | None = None) -> list[Tensor]:
        """Run without bridges and return the input of each block, (B, N, D)."""
        states = [x]
        for layer in range(len(self.blocks) - 1):
            states.append(self.run_block(layer, states[-1], padding_mask))
        return states

    def predict(self, x: Tensor, cells: Cells) -> Tensor:
        """Return the logits of some positions, (M, V), from the last block's (B, N, D)."""
        return self.head(self.norm(cells.take(x)))


class GatedCrossAttention(nn.Module):
    """Gated cross-attention from one tower to the other; the gates are closed at first.

    There is one gate per channel. With one scalar gate, channels that do not benefit push it back
    to 0; in trials it opened at a third of the speed.

    Attributes:
        raw_gate: The gates' parameter, (D,); see `gate`.
    """

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm, self.context_norm = RMSNorm(width), RMSNorm(width)
        self.attention = CrossAttention(width=width, heads=heads, dropout=dropout)
        self.raw_gate = nn.Parameter(torch.zeros(width))

    def gate(self) -> Tensor:
        """Return the factors of the attention's output, -1..1, 0 at first; (D,)."""
        return gate_of(self.raw_gate)

    def keys_values(self, context: Tensor, padding_mask: Tensor) -> Context:
        """Project the other tower's hidden states, (B, M, D), to keys and values.

        Args:
            context: The hidden states.
            padding_mask: False at padding, (B, M) bool.
        """
        return self.attention.keys_values(self.context_norm(context)), padding_mask

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Add the gated attention from `x`, (B, N, D), to the context."""
        attended = self.attention(self.norm(x), *context)
        return x + self.gate().to(attended.dtype) * attended


def gate_of(raw: Tensor) -> Tensor:
    """Return the gates, -1..1, of parameters of any shape."""
    return (GATE_LR_SCALE * raw).tanh()


def make_bridges(depth: int, *, width: int, heads: int, dropout: float) -> nn.ModuleList:
    """Make gated cross-attention for each block of a tower."""
    return nn.ModuleList(
        GatedCrossAttention(width=width, heads=heads, dropout=dropout) for _ in range(depth)
    )


def init_bridge_outputs(bridges: nn.ModuleList) -> None:
    """Initialise the output projections at unit scale.

    Gates start at 0, so outputs do not change, but a gate's gradient is proportional to this
    output: larger weights open gates faster.
    """
    for bridge in bridges:
        out = cast(GatedCrossAttention, bridge).attention.out.weight
        nn.init.normal_(out, std=out.shape[1] ** -0.5)


def mean_gates(bridges: nn.ModuleList, name: str) -> dict[str, Tensor]:
    """Return the mean absolute gate of each bridge, named by its number; without gradients."""
    raw = torch.stack([cast(GatedCrossAttention, bridge).raw_gate.detach() for bridge in bridges])
    means = gate_of(raw).abs().mean(dim=1).unbind()
    return {f"{name}_{i}": mean for i, mean in enumerate(means)}


def cache_context(
    bridges: nn.ModuleList, states: list[Tensor], padding_mask: Tensor
) -> list[Context]:
    """Compute the keys and values of all bridges, from the hidden states of a given modality."""
    pairs = zip(bridges, states, strict=True)
    return [
        cast(GatedCrossAttention, bridge).keys_values(state, padding_mask)
        for bridge, state in pairs
    ]


def forward_with_context(
    tower: Tower, x: Tensor, bridges: nn.ModuleList, contexts: list[Context]
) -> Tensor:
    """Run a tower with cross-attention to cached contexts; (B, N, D) to (B, N, D)."""
    for layer, (bridge, context) in enumerate(zip(bridges, contexts, strict=True)):
        x = tower.run_block(layer, bridge(x, context))
    return x


def forward_joint(
    towers: tuple[Tower, Tower],
    embedded: tuple[Tensor, Tensor],
    bridges: tuple[nn.ModuleList, ...],
    padding_masks: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """Run two towers in parallel, with cross-attention in both directions before every block.

    Args:
        towers: The first and the second.
        embedded: Their embedded tokens, (B, N, D) and (B, L, D).
        bridges: Those into the first, and those into the second.
        padding_masks: False at padding, (B, N) and (B, L) bool; None where there is none.

    Returns:
        The outputs of their last blocks, of the shapes of `embedded`.
    """
    first, second = embedded
    given = [
        _everywhere(x) if mask is None else mask
        for x, mask in zip(embedded, padding_masks, strict=True)
    ]
    for layer, pair in enumerate(zip(*bridges, strict=True)):
        to_first, to_second = (cast(GatedCrossAttention, bridge) for bridge in pair)
        contexts = (
            to_first.keys_values(second, given[1]),
            to_second.keys_values(first, given[0]),
        )
        first = towers[0].run_block(layer, to_first(first, contexts[0]), padding_masks[0])
        second = towers[1].run_block(layer, to_second(second, contexts[1]), padding_masks[1])
    return first, second


def _everywhere(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
