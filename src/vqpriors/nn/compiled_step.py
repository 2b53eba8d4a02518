"""A transformer's step in C, for a few pictures on a CPU; see step.c.

In torch, a step for a few pictures spends most of its time in starting operations, and in products
that read their matrices slowly. In C, it takes little more than reading the matrices and the cache.
"""

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.compiler import compile_c, is_compiling_wanted, pointer
from vqpriors.core.hardware import working_dtype
from vqpriors.nn.attention import Context
from vqpriors.nn.backbone import Backbone
from vqpriors.nn.blocks import Block
from vqpriors.nn.norm import EPSILON, RMSNorm

SOURCE = Path(__file__).with_name("step.c")
MAX_ROWS = 16  # for more, `FastBlocks` is as fast; the source allows 64

_LOG = logging.getLogger(__name__)


class _Sizes(ctypes.Structure):
    _names = ("rows", "width", "heads", "hidden", "length", "text", "depth", "codes", "threads")
    _fields_ = [
        *((name, ctypes.c_int32) for name in (*_names, "is_half")),
        ("epsilon", ctypes.c_float),
    ]


class _Layer(ctypes.Structure):
    _matrices = ("qkv", "out", "query", "cross_out", "gate_up", "down")
    _gains = ("query_gain", "key_gain", "cross_gain")
    _caches = ("keys", "values", "text_keys", "text_values")
    _fields_ = [(name, ctypes.c_void_p) for name in (*_matrices, *_gains, *_caches)]


class _Work(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("x", "wide", "mixed", "scores")]


def try_compiling(
    backbone: Backbone, contexts: Sequence[Context | None], *, batch: int
) -> "CompiledBlocks | None":
    """Return compiled blocks if they are wanted and would be faster, otherwise None.

    Arguments as in `make_steps`; on a CPU, without gradients.
    """
    if not (is_compiling_wanted() and batch <= MAX_ROWS and _can_compile()):
        return None
    return CompiledBlocks(backbone, contexts, batch=batch)


@cache
def _can_compile() -> bool:
    """Return whether the step can be compiled; if not, the log says why, once."""
    try:
        compile_c(SOURCE)
    except RuntimeError as error:
        _LOG.warning("sampling without a compiled step: %s", error)
        return False
    return True


class CompiledBlocks:
    """The blocks on a CPU, in C; see `vqpriors.nn.stepping.Steps`.

    Matrices, keys and values have autocast's dtype, float32 or bfloat16; all else is float32.

    Raises:
        RuntimeError: If the step can't be compiled; in one line.
    """

    def __init__(self, backbone: Backbone, contexts: Sequence[Context | None], *, batch: int):
        library = compile_c(SOURCE)
        self.function, self.lanes = library.step, library.lanes()
        weight = backbone.embedding.weight
        self.position, self.dtype = 0, working_dtype(weight)
        self.kept: list[Tensor] = []  # tensors whose addresses the structures hold
        width, heads = weight.shape[1], backbone.heads
        blocks = [cast(Block, block) for block in backbone.blocks]
        hidden = blocks[0].feed_forward.down.in_features
        self.rope = None if backbone.rope is None else backbone.rope.transpose(0, 1).contiguous()
        self.bias = self._bias(contexts[0])
        self.sizes = _Sizes(
            rows=batch,
            width=width,
            heads=heads,
            hidden=hidden,
            length=self._padded(backbone.length),
            text=0 if self.bias is None else self.bias.shape[1],
            depth=len(blocks),
            codes=backbone.head.out_features,
            threads=torch.get_num_threads(),
            is_half=self.dtype == torch.bfloat16,
            epsilon=EPSILON,
        )
        self.layers = (_Layer * len(blocks))(*map(self._layer, blocks, contexts))
        self.head = self._matrix(backbone.head, backbone.norm)
        self.x = torch.empty(batch, width)
        longest = max(self.sizes.length, self.sizes.text)
        self.work = _Work(
            x=self.x.data_ptr(),
            wide=self._kept(torch.empty(batch, max(3 * width, 2 * hidden))),
            mixed=self._kept(torch.empty(batch, width)),
            scores=self._kept(torch.empty(batch, heads, longest)),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, K) float32."""
        self.x.copy_(x)
        logits = torch.empty(len(x), self.sizes.codes)
        rope = None if self.rope is None else self.rope[self.position]
        self.function(
            ctypes.byref(self.sizes),
            self.layers,
            ctypes.c_void_p(self.head),
            pointer(self.bias),
            pointer(rope),
            ctypes.c_int(self.position),
            ctypes.byref(self.work),
            pointer(logits),
        )
        self.position += 1
        return logits

    def _layer(self, block: Block, context: Context | None) -> _Layer:
        own, feed, cross, norm = (
            block.self_attention,
            block.feed_forward,
            block.cross_attention,
            block.cross_norm,
        )
        cache = torch.zeros(
            self.sizes.rows,
            own.heads,
            self.sizes.length,
            self._padded(own.head_width),
            dtype=self.dtype,
        )
        layer = _Layer(
            qkv=self._matrix(own.qkv, block.self_norm),
            out=self._matrix(own.out),
            gate_up=self._matrix(feed.gate_up, block.feed_norm),
            down=self._matrix(feed.down),
            query_gain=self._kept(own.query_norm.weight.float()),
            key_gain=self._kept(own.key_norm.weight.float()),
            keys=self._kept(cache[..., : own.head_width]),
            values=self._kept(cache),
        )
        if context is not None and cross is not None and norm is not None:
            (keys, values), _ = context
            width, length = own.head_width, keys.shape[2]
            values = F.pad(values, (0, -width % self.lanes, 0, -length % self.lanes))
            layer.query = self._matrix(cross.query, norm)
            layer.cross_out = self._matrix(cross.out)
            layer.cross_gain = self._kept(cross.query_norm.weight.float())
            layer.text_keys = self._kept(self._in_blocks(keys).to(self.dtype))
            layer.text_values = self._kept(values.to(self.dtype))
        return layer

    def _matrix(self, linear: nn.Linear, norm: RMSNorm | None = None) -> int:
        """Return the address of a layer's matrix after a norm, in the layout of step.c."""
        weight = linear.weight if norm is None else linear.weight * norm.weight
        return self._kept(self._in_blocks(weight.to(self.dtype)))

    def _in_blocks(self, matrix: Tensor) -> Tensor:
        """Map (..., N, C) to (..., N / lanes, C, lanes), padded with zeros."""
        padded = F.pad(matrix, (0, 0, 0, -matrix.shape[-2] % self.lanes))
        return padded.unflatten(-2, (-1, self.lanes)).transpose(-1, -2)

    def _bias(self, context: Context | None) -> Tensor | None:
        """Return what is added to the scores of text tokens, (B, L) padded to whole blocks."""
        if context is None:
            return None
        _, mask = context
        mask = F.pad(mask, (0, -mask.shape[1] % self.lanes), value=False)
        return torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)

    def _padded(self, number: int) -> int:
        return number + -number % self.lanes

    def _kept(self, tensor: Tensor) -> int:
        self.kept.append(tensor.detach().clone(memory_format=torch.contiguous_format))
        return self.kept[-1].data_ptr()
