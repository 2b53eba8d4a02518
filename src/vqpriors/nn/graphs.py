"""A step that is recorded once on a GPU and then started by one call: a CUDA graph."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def try_recording(make: Callable[[], T], *, like: Tensor) -> T | None:
    """Return the result of `make`, which calls `record`, or None.

    Recording needs a GPU and inference mode; without them, `make` is not called. If it fails, a
    warning says why.

    Args:
        make: Called at most once.
        like: A tensor on the device in question.

    Raises:
        torch.OutOfMemoryError: If the GPU's memory is full.
    """
    if not (like.is_cuda and torch.cuda.is_available() and torch.is_inference_mode_enabled()):
        return None
    try:
        return make()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        cause = str(error).partition("\n")[0]
        warnings.warn(f"sampling without a CUDA graph, which failed: {cause}", stacklevel=2)
        return None


def record(
    step: Callable[[], Tensor], *, device: torch.device, reset: Callable[[], object]
) -> Callable[[], Tensor]:
    """Record a step as a CUDA graph.

    Args:
        step: Must read and write the same tensors at each call, not wait for the device, and not
            depend on Python values that change.
        device: A GPU.
        reset: Undoes what the step has written; called after each trial run of the step.

    Returns:
        A function that runs the step. The next call overwrites its result.
    """
    with torch.cuda.device(device), _without_autocast_cache(device), _side_stream(device) as stream:
        for _ in range(2):  # before a recording, libraries have to be set up
            try:
                step()
            finally:
                reset()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = step()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


@contextmanager
def _side_stream(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """Use another stream, which waits for the current one, and then the current one for it."""
    current, stream = torch.cuda.current_stream(device), _stream(device)
    stream.wait_stream(current)
    torch.cuda.set_stream(stream)
    try:
        yield stream
    finally:
        torch.cuda.set_stream(current)  # a recording that fails leaves its own
        current.wait_stream(stream)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # One for all recordings: libraries keep work space for each stream.
    return torch.cuda.Stream(device)


def _without_autocast_cache(device: torch.device) -> torch.autocast:
    # The cache is emptied when autocast ends, while a graph goes on reading the same memory.
    is_on, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    return torch.autocast(device.type, dtype=dtype, enabled=is_on, cache_enabled=False)
