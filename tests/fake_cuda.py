"""Fake tensors on a GPU that need not exist: nothing is computed but shapes and dtypes.

The CPU build of torch has CUDA's autocast rules as well, so no GPU and no CUDA build is needed.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.overrides import TorchFunctionMode


@contextmanager
def fake_cuda():
    """Use fake tensors, and bfloat16 autocast on CUDA."""
    with FakeTensorMode(allow_non_fake_inputs=True), _Indexing():
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_enabled("cuda", True)
        try:
            yield
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()


class _Indexing(TorchFunctionMode):
    """Slice tensors by operators: `x[...]` itself needs a driver that CPU builds lack."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.__getitem__:
            return _indexed(*arguments)
        return function(*arguments, **(keywords or {}))


def _indexed(tensor, place):
    for dim, part in enumerate(place if isinstance(place, tuple) else (place,)):
        if part is None:
            tensor = tensor.unsqueeze(dim)
        else:
            assert isinstance(part, slice)
            assert part.step is None
            tensor = torch.ops.aten.slice(tensor, dim, part.start, part.stop)
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
