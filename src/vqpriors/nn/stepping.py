"""A causal transformer at one position at a time, given those before: the loop of sampling.

On a CPU most of a step is the start of many small operations, so `FastBlocks` makes as few as
possible: gains of norms are multiplied into the next matrix once, residuals are added by the
product that computes them, and the queries and keys of a block are normalised together. Matrices
are laid out for the number of pictures; see `vqpriors.nn.products`. For a few pictures, the step
can be compiled from C; see `vqpriors.nn.compiled_step`. On a GPU, `StaticBlocks` makes all
operations the same at every position and starts them at once, as a CUDA graph.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import Context, KeyValueCache, cache_dtype
from vqpriors.nn.backbone import Backbone
from vqpriors.nn.blocks import Block, swiglu
from vqpriors.nn.compiled_step import try_compiling
from vqpriors.nn.graphs import record, try_recording
from vqpriors.nn.norm import RMSNorm, rms_scale
from vqpriors.nn.products import Product, is_fast


class Steps(Protocol):
    """The blocks and the head of a transformer, called once for each position in order.

    Attributes:
        position: Position of the next call, from 0.
    """

    position: int

    def __call__(self, x: Tensor) -> Tensor:
        """Map the embedded tokens of one position, (B, D), to the logits of the next, (B, K)."""
        ...


def make_steps(backbone: Backbone, contexts: Sequence[Context | None], *, batch: int) -> Steps:
    """Return the blocks of a backbone with empty caches, in the form that is faster.

    Args:
        backbone: In evaluation mode.
        contexts: The caption for each block, as from `Backbone.contexts` for a cache.
        batch: Number of pictures B.
    """
    weight = backbone.embedding.weight
    if is_fast(weight):
        compiled = try_compiling(backbone, contexts, batch=batch)
        return compiled or FastBlocks(backbone, contexts, batch=batch)
    static = try_recording(lambda: StaticBlocks(backbone, contexts, batch=batch), like=weight)
    if static is not None:
        return static
    return CachedBlocks(backbone, contexts, batch=batch)


class CachedBlocks:
    """The blocks as they are, with caches; see `Steps`."""

    def __init__(self, backbone: Backbone, contexts: Sequence[Context | None], *, batch: int):
        self.backbone, self.contexts, self.position = backbone, list(contexts), 0
        self.caches = [KeyValueCache(**_cache_of(backbone, batch)) for _ in backbone.blocks]

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, K)."""
        self.position += 1
        x = self.backbone.run_blocks(x[:, None], self.contexts, is_causal=True, caches=self.caches)[
            :, 0
        ]
        return self.backbone.head(self.backbone.norm(x))


class StaticBlocks:
    """The blocks with tensors that stay in place, so that a step is the same at every position.

    A query attends to the whole cache, with a mask that hides later positions. On a GPU the step is
    recorded once, as a CUDA graph, and then started by one call instead of a few hundred.

    See `Steps`. It has been tested on a CPU, without the graph.
    """

    def __init__(self, backbone: Backbone, contexts: Sequence[Context | None], *, batch: int):
        self.backbone, self.contexts, self.position = backbone, list(contexts), 0
        weight = backbone.embedding.weight
        self.place = torch.zeros(1, dtype=torch.int64, device=weight.device)
        self.places = torch.arange(backbone.length, device=weight.device)[None]
        sizes = _cache_of(backbone, batch)
        self.caches = [_StaticCache(self.place, **sizes) for _ in backbone.blocks]
        self.x = weight.new_zeros(batch, weight.shape[1], dtype=working_dtype(weight))
        if weight.is_cuda:
            self.replay = record(self._step, device=weight.device, reset=self.place.zero_)
        else:
            self.replay = self._step

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, K)."""
        self.position += 1
        self.x.copy_(x)
        return self.replay().clone()

    def _step(self) -> Tensor:
        mask = self.places <= self.place
        for own in self.caches:
            own.mask = mask
        rope = self.backbone.rope
        rope = None if rope is None else rope.index_select(1, self.place)
        x = self.x[:, None]
        parts = zip(self.backbone.blocks, self.contexts, self.caches, strict=True)
        for block, context, own in parts:
            x = block(x, is_causal=True, rope=rope, context=context, cache=own)
        self.place += 1
        return self.backbone.head(self.backbone.norm(x[:, 0]))


class _StaticCache(KeyValueCache):
    def __init__(self, place: Tensor, **sizes: Any):
        super().__init__(**sizes)
        self.place = place

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.index_copy_(2, self.place, keys.to(self.keys.dtype))
        self.values.index_copy_(2, self.place, values.to(self.values.dtype))
        return self.keys, self.values


def _cache_of(backbone: Backbone, batch: int) -> dict[str, Any]:
    weight = backbone.embedding.weight
    return {
        "batch": batch,
        "heads": backbone.heads,
        "positions": backbone.length,
        "head_width": weight.shape[1] // backbone.heads,
        "like": weight.new_empty(0, dtype=cache_dtype(weight)),
    }


class FastBlocks:
    """The blocks on a CPU, without gradients and dropout; see `Steps`.

    Products are computed in autocast's dtype, attention and its cache in `cache_dtype`.
    """

    def __init__(self, backbone: Backbone, contexts: Sequence[Context | None], *, batch: int):
        self.position, self.rope = 0, backbone.rope
        length = backbone.length
        self.blocks = [
            _FastBlock(block, context, batch=batch, length=length)  # pyright: ignore[reportArgumentType] nn.ModuleList holds modules
            for block, context in zip(backbone.blocks, contexts, strict=True)
        ]
        self.head = _product(backbone.head, backbone.norm, rows=batch)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, K)."""
        rope = None if self.rope is None else self.rope[:, self.position]
        with torch.autocast("cpu", enabled=False):  # it would cast what attention gets
            for block in self.blocks:
                x = block(x, self.position, rope)
            self.position += 1
            return self.head(x * rms_scale(x))


class _FastBlock:
    def __init__(self, block: Block, context: Context | None, *, batch: int, length: int):
        own = block.self_attention
        self.heads, self.head_width = own.heads, own.head_width
        self.qkv = _product(own.qkv, block.self_norm, rows=batch)
        self.gains = torch.stack([own.query_norm.weight, own.key_norm.weight])[:, None]
        self.out = _product(own.out, rows=batch)
        # Keys and values of the positions so far; (2, B, heads, N, head_width).
        self.cache = torch.empty(
            (2, batch, own.heads, length, own.head_width), dtype=cache_dtype(own.qkv.weight)
        )
        cross, norm = block.cross_attention, block.cross_norm
        self.context = None
        if context is not None and cross is not None and norm is not None:
            (keys, values), mask = context
            bias = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)[:, None, None]
            self.context = keys, values, bias
            self.query = _product(cross.query, norm, rows=batch)
            self.query_gain = cross.query_norm.weight
            self.cross_out = _product(cross.out, rows=batch)
        feed = block.feed_forward
        self.gate_up = _product(feed.gate_up, block.feed_norm, rows=batch)
        self.down = _product(feed.down, rows=batch)

    def __call__(self, x: Tensor, position: int, rope: Tensor | None) -> Tensor:
        batch, width = x.shape
        qkv = self.qkv(x * rms_scale(x)).to(self.cache.dtype)
        qkv = qkv.view(batch, 3, self.heads, self.head_width)
        query_key = qkv[:, :2]
        query_key.mul_(rms_scale(query_key)).mul_(self.gains)
        if rope is not None:
            cos, sin = rope
            swapped = query_key.roll(self.head_width // 2, dims=-1)
            torch.addcmul(query_key * cos, swapped, sin, out=query_key)
        self.cache[:, :, :, position] = qkv[:, 1:].transpose(0, 1)
        keys, values = self.cache[:, :, :, : position + 1]
        mixed = F.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values)
        x = self.out.added(mixed.reshape(batch, width), to=x)
        if self.context is not None:
            keys, values, bias = self.context
            query = self.query(x * rms_scale(x)).to(keys.dtype)
            query = query.view(batch, self.heads, 1, self.head_width)
            query.mul_(rms_scale(query)).mul_(self.query_gain)
            mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
            x = self.cross_out.added(mixed.reshape(batch, width), to=x)
        return swiglu(x * rms_scale(x), self.gate_up, lambda hidden: self.down.added(hidden, to=x))


def _product(linear: nn.Linear, norm: RMSNorm | None = None, *, rows: int) -> Product:
    """Return the product of a layer after a norm, whose gain is multiplied into the matrix."""
    weight = linear.weight if norm is None else linear.weight * norm.weight
    return Product(weight.to(working_dtype(weight)), rows=rows)
