"""GPT over the codes in raster order, with cross-attention to the caption.

References:
    Radford et al. 2019, GPT-2; Sun et al. 2024, LlamaGen, arXiv:2406.06525 (the modern block and
    rotary positions over the grid).
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import Context, CrossAttention, KeyValueCache, cache_dtype, grid_rope
from vqpriors.nn.blocks import Block, Head, initialise
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.text_tower import TextTower
from vqpriors.priors.base.prior import Batch, text_of
from vqpriors.priors.base.stepwise import code_losses, code_nats, fill


class Config(Section):
    """`prior.transformer` of params.yaml."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    text_depth: int = Field(ge=0)
    positions: Literal["rope", "learned"]
    dropout: float = Field(ge=0, lt=1)
    phases: dict[str, Phase] = Field(min_length=1)


@dataclass
class DecodingState:
    """For each block, the cache of the steps before and the caption's keys and values."""

    caches: list[KeyValueCache]
    contexts: list[Context | None]


class Transformer(nn.Module):
    """Causal transformer over codes; a `StepwisePrior`.

    Attributes:
        length: Number of codes N.
        begin: The start token, which comes before the first code.
    """

    primitive = "stepwise"
    is_captioner = False
    is_exact = True
    num_draws = 0
    rope: Tensor | None

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        width: int,
        depth: int,
        heads: int,
        text_depth: int,
        positions: str,
        dropout: float,
    ):
        super().__init__()
        if width % heads or (positions == "rope" and width // heads % 4):
            raise ValueError(
                "prior.transformer.heads: must divide width into heads of a multiple of 4, "
                f"got heads={heads}, width={width}; change one of them in params.yaml"
            )
        self.length, self.begin, self.heads = grid[0] * grid[1], codebook_size, heads
        has_text = text.length > 0
        self.text_tower = (
            TextTower(shape=text, width=width, depth=text_depth, heads=heads, dropout=dropout)
            if has_text
            else None
        )
        self.embedding = nn.Embedding(codebook_size + 1, width)
        self.positions = nn.Embedding(self.length, width) if positions == "learned" else None
        rope = grid_rope(*grid, width // heads)[:, : self.length] if positions == "rope" else None
        self.register_buffer("rope", rope, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, has_text=has_text)
            for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.head = Head(width, codebook_size, bias=False)
        initialise(self, depth=depth)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return "nats_per_token", the mean negative log-likelihood of codes given those before."""
        return code_losses(self.logits(batch["codes"], text_of(batch)), batch["codes"])

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor | None = None) -> Tensor:
        """Return each picture's exact negative log-likelihood in nats, (B,) float32."""
        return code_nats(self.logits(codes, text), codes)

    def logits(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return the logits of every code given those before it.

        Args:
            codes: (B, N) int64, raster order; the last one is not used.
            text: The captions.

        Returns:
            (B, N, K) float.
        """
        begin = torch.full_like(codes[:, :1], self.begin)
        x = self._embed(torch.cat([begin, codes[:, :-1]], dim=1), position=0)
        for block, context in zip(self.blocks, self._contexts(text), strict=True):
            x = block(x, is_causal=True, rope=self.rope, context=context)
        return self.head(self.norm(x))

    def start(self, text: TextInput) -> DecodingState:
        """Return empty caches and the caption's keys and values."""
        weight = self.embedding.weight
        shape = {"batch": len(text.tokens), "heads": self.heads, "positions": self.length}
        shape |= {"head_width": weight.shape[1] // self.heads}
        like = weight.new_empty(0, dtype=cache_dtype(weight))
        caches = [KeyValueCache(**shape, like=like) for _ in self.blocks]
        return DecodingState(caches, self._contexts(text, for_cache=True))

    def step(self, token: Tensor, state: DecodingState) -> Tensor:
        """Return the next code's logits, (B, K) float, given the token before, (B,) int64."""
        position = state.caches[0].length
        x = self._embed(token[:, None], position=position)
        rope = None if self.rope is None else self.rope[:, position : position + 1]
        for block, context, cache in zip(self.blocks, state.contexts, state.caches, strict=True):
            x = block(x, is_causal=True, rope=rope, context=context, cache=cache)
        return self.head(self.norm(x[:, -1]))

    def fill(self, codes: Tensor, mask: Tensor, text: TextInput) -> Tensor:
        """Replace masked codes by the likeliest ones; see `vqpriors.priors.base.stepwise.fill`."""
        return fill(self, codes, mask, text)

    def _embed(self, tokens: Tensor, *, position: int) -> Tensor:
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[position : position + tokens.shape[1]]
        # In bfloat16, a residual stream in the matmuls' precision halves the memory traffic.
        return self.dropout(x.to(working_dtype(x)))

    def _contexts(self, text: TextInput, *, for_cache: bool = False) -> list[Context | None]:
        if self.text_tower is None:
            return [None] * len(self.blocks)
        vectors = self.text_tower(text)
        layers = [cast(CrossAttention, block.cross_attention) for block in self.blocks]
        pairs = [layer.keys_values(vectors, for_cache=for_cache) for layer in layers]
        return [(pair, text.text_mask) for pair in pairs]


def build(
    config: Config, *, grid: tuple[int, int], codebook_size: int, text: TextShape
) -> Transformer:
    """Build the prior that a config describes.

    Raises:
        ValueError: If the heads do not fit the width.
    """
    settings = config.model_dump(exclude={"phases"})
    return Transformer(grid=grid, codebook_size=codebook_size, text=text, **settings)
