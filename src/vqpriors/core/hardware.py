"""The device, the processes of a run, peak memory and mixed precision."""

import os
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
DEVICE_VARIABLE = "VQPRIORS_DEVICE"
_DEVICES = ("cpu", "cuda", "mps")
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
_CASTING = threading.RLock()


def best_device() -> torch.device:
    """Return the first CUDA GPU, or the CPU if there is none.

    The environment variable VQPRIORS_DEVICE chooses another: cpu, cuda or mps. Apple's GPU, mps,
    is used only if it is chosen, since it has not been tried.

    Raises:
        ValueError: If the variable names a device that this machine lacks.
    """
    chosen = os.environ.get(DEVICE_VARIABLE, "")
    if chosen not in ("", *_DEVICES):
        raise ValueError(
            f"{DEVICE_VARIABLE}: must be {', '.join(_DEVICES)}, or unset, got {chosen!r}"
        )
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(chosen, True):
        raise ValueError(f"{DEVICE_VARIABLE}: {chosen} is not available on this machine; unset it")
    return torch.device(chosen or ("cuda" if available["cuda"] else "cpu"))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device; a GPU is not waited for."""
    # A copy from other memory waits. Compiled code can't pin memory.
    if device.type == "cuda" and tensor.is_cpu and not torch.compiler.is_compiling():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=tensor.is_cpu)


def widest_float(device: torch.device) -> torch.dtype:
    """Return the most precise floating-point type of a device: Apple's GPU has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def processes() -> "PartialState":
    """Return the distributed state: rank and number of processes; 0 and 1 without a launcher.

    Passes `cpu` explicitly: otherwise Accelerate treats each of several CPU processes as a
    single-process run.
    """
    from accelerate import PartialState  # slow to import, and not needed by every user of this file

    return PartialState(cpu=best_device().type == "cpu")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that a device or the host ran out of memory."""
    text = str(error).lower()
    is_torch = isinstance(error, RuntimeError) and any(part in text for part in _NO_MEMORY)
    return is_torch or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process in bytes: on a GPU its own, otherwise main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Replace "auto" by "bf16" if the device has fast bfloat16, otherwise by "no"."""
    if precision != "auto":
        return precision
    return "bf16" if _has_fast_bfloat16(device) else "no"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return an autocast context: matrix products are computed in the given precision."""
    resolved = resolve_precision(precision, device)
    dtype = torch.float16 if resolved == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=resolved != "no")


@contextmanager
def autocast_once(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Autocast for inference that casts the weights of linear layers once, not at every call.

    Results equal those of `autocast`. Sampling token by token would spend most of its time on the
    repeated casts. A lock keeps other threads from using a model while its weights are cast.
    """
    device = next(model.parameters()).device
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    with autocast(precision, device), _CASTING:
        originals = {p: p.data for layer in layers for p in layer.parameters(recurse=False)}
        is_on, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        try:
            for parameter in originals if is_on else ():
                parameter.data = parameter.data.to(dtype)
            yield
        finally:
            for parameter, value in originals.items():
                parameter.data = value


def working_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of products with a tensor: that of autocast if enabled, or its own."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions CPUs emulate bfloat16, which is slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
