"""The device at hand and the precision that it is fast at."""

import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import PartialState

Precision = Literal["auto", "no", "bf16", "fp16"]
_CASTING = threading.RLock()


def best_device() -> torch.device:
    """Return the first GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def processes() -> "PartialState":
    """Return this process's place among those of a launch; the only one of one without a launch.

    Told of a CPU in so many words: accelerate would else take each of several CPU processes for
    the only one.
    """
    from accelerate import PartialState  # here, because most of what computes is one process

    return PartialState(cpu=best_device().type == "cpu")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held so far, on the GPU where it has one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Replace "auto" by "bf16" where the device computes faster in it, else by "no"."""
    if precision != "auto":
        return precision
    return "bf16" if _has_fast_bfloat16(device) else "no"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Compute products in a lower precision inside the block."""
    resolved = resolve_precision(precision, device)
    dtype = torch.float16 if resolved == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=resolved != "no")


@contextmanager
def autocast_once(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Do as `autocast` in a block that does not train a model, with the same results, faster.

    Its linear layers are cast once, where autocast casts them at each of their calls: drawing code
    by code would spend most of its time on that. Threads wait for each other, since no other may
    find weights that are cast.
    """
    device = next(model.parameters()).device
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    with autocast(precision, device), _CASTING:
        exact = {p: p.data for layer in layers for p in layer.parameters(recurse=False)}
        is_on, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        try:
            for parameter in exact if is_on else ():
                parameter.data = parameter.data.to(dtype)
            yield
        finally:
            for parameter, value in exact.items():
                parameter.data = value


def working_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of products with a tensor here: autocast's where it is on, else its own."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions the CPU emulates bfloat16 and is slower than in float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
