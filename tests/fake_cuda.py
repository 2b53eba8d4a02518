"""Fake tensors on a GPU that need not exist: nothing is computed but shapes and dtypes.

The CPU build of torch has CUDA's autocast rules as well, so no GPU and no CUDA build is needed.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

READS = {torch.Tensor.cpu, torch.Tensor.__int__, torch.Tensor.__bool__}
ANY = 3  # what they read of a fake tensor


@contextmanager
def fake_cuda(dtype=torch.bfloat16):
    """Use fake tensors on CUDA and real ones on the CPU, and autocast to `dtype` on CUDA.

    Yields the names of functions for which a GPU would have to be waited for: they read a value of
    a fake tensor, or copy to the GPU without `non_blocking`, or from memory that is not contiguous
    and so can't be pinned.
    """
    waits = []
    with FakeTensorMode(allow_non_fake_inputs=True), _Functions(waits):
        torch.set_autocast_dtype("cuda", dtype)
        torch.set_autocast_enabled("cuda", True)
        try:
            yield waits
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()


class _Functions(TorchFunctionMode):
    """Computes on the CPU as ever, and replaces functions that need a driver for fake tensors."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.pin_memory:
            return arguments[0]
        keywords = keywords or {}
        values = tree_leaves((arguments, keywords))
        is_fake = any(isinstance(value, FakeTensor) for value in values)
        if not is_fake and not any(_is_gpu(value) for value in values):
            with unset_fake_temporarily():
                return function(*arguments, **keywords)
        if function is torch.Tensor.to and not is_fake:
            tensor, device = arguments
            if not (keywords.get("non_blocking") and tensor.is_contiguous()):
                self.waits.append("to")
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        if function is torch.tensor:
            self.waits.append("tensor")
        if function is torch.Tensor.__invert__:
            return arguments[0].logical_not()
        if function is torch.Tensor.contiguous:
            return arguments[0].clone(memory_format=torch.contiguous_format)
        if function is torch.Tensor.copy_:
            target, source = arguments
            if target.device != source.device and not keywords.get("non_blocking"):
                self.waits.append("copy_")
            return torch.ops.aten.copy_(target, source)
        if function is torch.Tensor.__getitem__:
            return _indexed(*arguments)
        if function is torch.Tensor.__setitem__:
            tensor, place, value = arguments
            return torch.ops.aten.copy_(_indexed(tensor, place), value)
        if function in READS:
            self.waits.append(function.__name__)
            with unset_fake_temporarily():
                return function(torch.full(arguments[0].shape, ANY))
        return function(*arguments, **keywords)


def _is_gpu(value):
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")


def _indexed(tensor, place):
    parts, dim = place if isinstance(place, tuple) else (place,), 0
    for part in parts:
        if part is Ellipsis:
            dim += tensor.ndim - sum(other not in (None, Ellipsis) for other in parts)
            continue
        if part is None:
            tensor = tensor.unsqueeze(dim)
        elif isinstance(part, int):
            tensor = tensor.select(dim, part)
            continue
        else:
            assert isinstance(part, slice)
            tensor = torch.ops.aten.slice(tensor, dim, part.start, part.stop, part.step or 1)
        dim += 1
    return tensor


class _Method(nn.Module):
    """A module whose forward pass is another function on a module."""

    def __init__(self, module, function):
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *arguments):
        return self.function(self.module, *arguments)


def call(module, function, *arguments):
    """Call `function(module, *arguments)` with fake weights and buffers on a GPU."""
    method = _Method(module, function)
    state = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    fake = {
        name: torch.empty(value.shape, dtype=value.dtype, device="cuda")
        for name, value in state.items()
    }
    return functional_call(method, fake, arguments)
