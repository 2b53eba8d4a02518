"""What the machine allows, and the share of it that an implementation reaches."""

import time
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.benchmark import Benchmark, wait_for_gpu
from benchmarks.speed.ours import DTYPES
from vqpriors.core.hardware import Precision

PRODUCT = (2048, 256, 1024)  # rows, inputs and outputs: a layer of a prior's training step
NUM_READ = 2**27  # numbers in a tensor that no cache holds
REPEATS = 7


@cache
def product_rate(precision: Precision, device: str) -> float:
    """Return the operations per second of a matrix product of a prior's shape."""
    rows, inputs, outputs = PRODUCT
    a = torch.randn(rows, inputs, dtype=DTYPES[precision], device=device)
    b = torch.randn(inputs, outputs, dtype=DTYPES[precision], device=device)
    return 2 * prod(PRODUCT) / _least_seconds(lambda: a @ b)


@cache
def memory_rate(device: str) -> float:
    """Return the bytes per second of reading memory."""
    numbers = torch.ones(NUM_READ, device=device)
    return numbers.nbytes / _least_seconds(lambda: numbers.sum())


def share(benchmark: Benchmark, value: float, *, device: str = "cpu") -> float | None:
    """Return the least time of our implementation on this machine as a share of its time.

    The least time is that of its products and convolutions at `product_rate`, or if longer, that of
    reading from memory what it has to at `memory_rate`.

    Args:
        benchmark: The benchmark.
        value: Our measurement.
        device: Where it was computed, "cpu" or "cuda".
    """
    if benchmark.precision is None or benchmark.returns_value or not benchmark.ours.parameters:
        return None
    seconds = benchmark.amount / value if benchmark.unit.endswith("/s") else value
    computed = operations(benchmark.ours.counted or benchmark.ours.run) / product_rate(
        benchmark.precision, device
    )
    read = benchmark.ours.num_read * DTYPES[benchmark.precision].itemsize / memory_rate(device)
    return max(computed, read) / seconds


def operations(run: Callable[[], Any]) -> int:
    """Count the additions and multiplications of a run's products and convolutions.

    Those of attention are included; if it is causal, without the pairs that it leaves out.
    """
    mapping: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_operations,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            _attention_backward_operations
        ),
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        mapping[torch.ops.mkldnn._linear_pointwise] = _linear_operations
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        run()
    return counter.get_total_flops()


def _linear_operations(x: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * prod(x) * out_shape[-1]


def _attention_operations(
    query: Any, key: Any, value: Any, dropout: float = 0.0, is_causal: bool = False, **_: Any
) -> int:
    *heads, length, width = query
    num_pairs = length * (length + 1) // 2 if is_causal else length * key[-2]
    return 2 * 2 * prod(heads) * num_pairs * width  # two products: scores, and their values


def _attention_backward_operations(
    gradient: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Any,
    logsumexp: Any,
    dropout: float,
    is_causal: bool,
    **_: Any,
) -> int:
    # Five products: the scores again, and the gradients of all that forward multiplies.
    return _attention_operations(query, key, value, dropout, is_causal) * 5 // 2


def _least_seconds(run: Callable[[], Tensor]) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        run()
        wait_for_gpu()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
