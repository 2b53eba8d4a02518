"""Two towers and the gated bridges between them: one over pictures, one over captions.

References:
    Alayrac et al. 2022, Flamingo, arXiv:2204.14198 (cross-attention behind a tanh gate that starts
    closed);
    Lu et al. 2019, ViLBERT, arXiv:1908.02265 (two streams, each attending to the other).
"""

from typing import cast

import torch
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import CrossAttention
from vqpriors.nn.blocks import Block, Head
from vqpriors.nn.norm import RMSNorm

PACE = 8.0  # a gate moves by no more than the learning rate in a step: too slow on its own

Side = tuple[tuple[Tensor, Tensor], Tensor]
"""The other tower as a bridge sees it: keys and values, (B, heads, M, D) each; which are visible,
(B, M) bool."""


class Tower(nn.Module):
    """A bidirectional transformer over tokens of one kind, of which any may be masked.

    Args:
        num_tokens: Number of tokens V; one more, V itself, stands for a masked one.
        length: Number of positions N.
        width: Width D.
        depth: Number of blocks.
        heads: Attention heads.
        dropout: In training.
        turns: Rotary positions, (2, N, head_width); None for learned ones.
    """

    turns: Tensor | None

    def __init__(
        self,
        *,
        num_tokens: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        turns: Tensor | None = None,
    ):
        super().__init__()
        self.mask = num_tokens
        self.embedding = nn.Embedding(num_tokens + 1, width)
        self.positions = nn.Embedding(length, width) if turns is None else None
        self.register_buffer("turns", turns, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, num_tokens, bias=False)

    def embed(self, tokens: Tensor, extra: Tensor | None = None) -> Tensor:
        """Turn tokens, (B, N) int64, and what is to be added to them, into vectors, (B, N, D)."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        if extra is not None:
            x = x + extra
        return self.dropout(x.to(working_dtype(x)))

    def step(self, layer: int, x: Tensor, is_visible: Tensor | None = None) -> Tensor:
        """Run one block; (B, N, D) to (B, N, D)."""
        return self.blocks[layer](x, is_causal=False, turns=self.turns, is_real=is_visible)

    def alone(self, x: Tensor, is_visible: Tensor | None = None) -> list[Tensor]:
        """Run with no bridge; return what stands before each block, (B, N, D)."""
        states = [x]
        for layer in range(len(self.blocks) - 1):
            states.append(self.step(layer, states[-1], is_visible))
        return states

    def predict(self, x: Tensor, is_wanted: Tensor) -> Tensor:
        """Return the logits of wanted positions, (M, V), from the last block's (B, N, D)."""
        return self.head(self.norm(x[is_wanted]))


class Bridge(nn.Module):
    """Lets one tower listen to the other through a gate that is closed at first.

    One gate a channel: a single one for all of them is closed again by the channels that do not
    want what is heard, and opened a third as fast in trials.

    Attributes:
        gate: What opens it, (D,); see `openness`.
    """

    def __init__(self, *, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm, self.speaker_norm = RMSNorm(width), RMSNorm(width)
        self.attention = CrossAttention(width=width, heads=heads, dropout=dropout)
        self.gate = nn.Parameter(torch.zeros(width))

    @property
    def openness(self) -> Tensor:
        """The factors of what is heard, -1..1, 0 at first; (D,)."""
        return (PACE * self.gate).tanh()

    def side(self, x: Tensor, is_visible: Tensor) -> Side:
        """Prepare the speaking tower's vectors, (B, M, D), for the listening one."""
        return self.attention.keys_values(self.speaker_norm(x)), is_visible

    def forward(self, x: Tensor, side: Side) -> Tensor:
        """Add what the listening tower's vectors, (B, N, D), hear."""
        heard = self.attention(self.norm(x), *side)
        return x + self.openness.to(heard.dtype) * heard


def bridges(count: int, *, width: int, heads: int, dropout: float) -> nn.ModuleList:
    """Make a bridge a layer."""
    return nn.ModuleList(Bridge(width=width, heads=heads, dropout=dropout) for _ in range(count))


def speak_up(made: nn.ModuleList) -> None:
    """Give bridges a loud voice, which their closed gates keep out.

    A closed gate learns from what it would have let in, and so faster where that is plain to hear.
    """
    for bridge in made:
        out = cast(Bridge, bridge).attention.out.weight
        nn.init.normal_(out, std=out.shape[1] ** -0.5)


def sides(listening: nn.ModuleList, states: list[Tensor], is_visible: Tensor) -> list[Side]:
    """Prepare every layer of a tower that has run alone for the bridges that listen to it."""
    pairs = zip(listening, states, strict=True)
    return [cast(Bridge, bridge).side(state, is_visible) for bridge, state in pairs]


def listen(tower: Tower, x: Tensor, listening: nn.ModuleList, heard: list[Side]) -> Tensor:
    """Run a tower that listens to one that has run before; (B, N, D) to (B, N, D)."""
    for layer, (bridge, side) in enumerate(zip(listening, heard, strict=True)):
        x = tower.step(layer, bridge(x, side))
    return x


def converse(
    towers: tuple[Tower, Tower],
    vectors: tuple[Tensor, Tensor],
    listening: tuple[nn.ModuleList, ...],
) -> tuple[Tensor, Tensor]:
    """Run two towers side by side, each listening to the other before every block.

    Args:
        towers: The first and the second.
        vectors: Their embedded tokens, (B, N, D) and (B, L, D).
        listening: The bridges to the first, and those to the second.

    Returns:
        What their last blocks give, shaped as `vectors`.
    """
    first, second = vectors
    for layer, pair in enumerate(zip(*listening, strict=True)):
        to_first, to_second = (cast(Bridge, bridge) for bridge in pair)
        said = (to_first.side(second, _all(second)), to_second.side(first, _all(first)))
        first = towers[0].step(layer, to_first(first, said[0]))
        second = towers[1].step(layer, to_second(second, said[1]))
    return first, second


def _all(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
