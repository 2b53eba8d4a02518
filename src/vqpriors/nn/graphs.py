"""A step that is recorded once on a GPU and then started by one call: a CUDA graph."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def try_recording(make: Callable[[], T], *, like: Tensor) -> T | None:
    """Return the result of `make`, which calls `record`; None where that is not possible.

    It is not possible on CPUs and with gradients. If it fails, there is a warning.

    Args:
        make: Called once or not at all.
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
        step: Must read and write the same tensors at each call.
        device: A GPU.
        reset: Undoes what the step has written; called after each trial run of the step.

    Returns:
        A function that runs the step. The next call overwrites its result.
    """
    stream = _side_stream(device)
    with torch.cuda.device(device):
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # before a recording, libraries have to be set up
            for _ in range(2):
                try:
                    step()
                finally:
                    reset()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = step()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # One for all recordings: libraries keep work space for each stream.
    return torch.cuda.Stream(device)
