"""Transformer backbone of a prior: code embeddings, blocks, final norm and head.

A prior derives from `Backbone` and adds its losses and the methods that samplers call.
"""

from typing import Literal, cast

from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.attention import Context, CrossAttention, KeyValueCache, grid_rope
from vqpriors.nn.blocks import Block, Head, initialise
from vqpriors.nn.dropout import Dropout
from vqpriors.nn.norm import RMSNorm
from vqpriors.nn.text_tower import TextTower


class BackboneConfig(Section):
    """Params that all priors with a `Backbone` share."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    text_depth: int = Field(ge=0)
    positions: Literal["rope", "learned"]
    dropout: float = Field(ge=0, lt=1)


class Backbone(nn.Module):
    """Transformer over codes, causal or not, with cross-attention to the caption in each block.

    Args:
        name: The prior's name, for error messages.
        grid: Rows and columns of the grid of codes.
        codebook_size: Number of codes K; embedding K is for the prior's start or mask token.
        text: Sizes of the captions; length 0 for an unconditional prior.
        start_token: Whether the input is a start token and all codes but the last.
        width: Width of the residual stream.
        depth: Number of blocks.
        heads: Number of attention heads.
        text_depth: Number of blocks of the text tower.
        positions: "rope" for rotary positions, or "learned" embeddings.
        dropout: Dropout probability.

    Attributes:
        grid: Rows and columns of the grid of codes.
        length: Number of codes N.

    Raises:
        ValueError: If the heads do not divide the width, or with "rope" their width is not a
            multiple of 4.
    """

    rope: Tensor | None

    def __init__(
        self,
        *,
        name: str,
        grid: tuple[int, int],
        codebook_size: int,
        text: TextShape,
        start_token: bool,
        width: int,
        depth: int,
        heads: int,
        text_depth: int,
        positions: Literal["rope", "learned"],
        dropout: float,
    ):
        super().__init__()
        if width % heads or (positions == "rope" and width // heads % 4):
            raise ValueError(
                f"prior.{name}.heads: must divide width, for rope into heads of a multiple of 4, "
                f"got heads={heads}, width={width}; change one of them in params.yaml"
            )
        self.grid, self.length, self.heads = grid, grid[0] * grid[1], heads
        has_text = text.length > 0
        sizes = {"width": width, "heads": heads, "dropout": dropout}
        self.text_tower = TextTower(shape=text, depth=text_depth, **sizes) if has_text else None
        self.embedding = nn.Embedding(codebook_size + 1, width)
        self.positions = nn.Embedding(self.length, width) if positions == "learned" else None
        rope = (
            grid_rope(*grid, width // heads) if positions == "rope" else None
        )  # start token first
        if rope is not None:
            rope = rope[:, : self.length] if start_token else rope[:, 1:]
        self.register_buffer("rope", rope, persistent=False)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(has_text=has_text, **sizes) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = Head(width, codebook_size)
        initialise(self, depth=depth)

    def embed(self, tokens: Tensor, *, position: int = 0) -> Tensor:
        """Embed consecutive tokens of a sequence.

        Args:
            tokens: (B, L) int64.
            position: Position of the first of them.

        Returns:
            (B, L, width) float, in the dtype of matrix products.
        """
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[position : position + tokens.shape[1]]
        # In bfloat16, a residual stream in the matmuls' precision halves the memory traffic.
        return self.dropout(x.to(working_dtype(x)))

    def contexts(self, text: TextInput, *, for_cache: bool = False) -> list[Context | None]:
        """Return the caption's keys and values for each block; None without captions.

        Args:
            text: The captions.
            for_cache: As `CrossAttention.keys_values`.
        """
        if self.text_tower is None:
            return [None] * len(self.blocks)
        vectors = self.text_tower(text)
        layers = [cast(CrossAttention, block.cross_attention) for block in self.blocks]
        pairs = [layer.keys_values(vectors, for_cache=for_cache) for layer in layers]
        return [(pair, text.text_mask) for pair in pairs]

    def run_blocks(
        self,
        x: Tensor,
        contexts: list[Context | None],
        *,
        is_causal: bool,
        caches: list[KeyValueCache] | None = None,
    ) -> Tensor:
        """Run all blocks; the final norm and the head are not included.

        Args:
            x: Embedded tokens, (B, L, width); with caches, the tokens after the cached ones.
            contexts: The caption for each block.
            is_causal: Whether a token attends only to itself and to tokens before it.
            caches: Keys and values of earlier tokens for each block; those of `x` are appended.

        Returns:
            (B, L, width).
        """
        rope = self.rope
        if caches is None:
            for block, context in zip(self.blocks, contexts, strict=True):
                x = block(x, is_causal=is_causal, rope=rope, context=context)
            return x
        if rope is not None:
            rope = rope[:, caches[0].length : caches[0].length + x.shape[1]]
        for block, context, cache in zip(self.blocks, contexts, caches, strict=True):
            x = block(x, is_causal=is_causal, rope=rope, context=context, cache=cache)
        return x
