"""A benchmark: the same task by our implementation and by others, in turn, in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import torch

from benchmarks.speed import checkouts
from vqpriors.core.hardware import Precision

Row = dict[str, str]
COLUMNS = ["work", "size", "ours", "peer", "peer_version", "unit", "ours_value", "peer_value"]
COLUMNS += ["ratio", "share", "precision", "scale", "threads", "hardware", "commit"]
PRECISIONS: dict[Precision, str] = {"no": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Size:
    """The sizes of all benchmarks; a code stands for 4 x 4 pixels.

    Attributes:
        pixels: Edge of a picture.
        pictures: Batch size of the tokenizer's training step; encoding takes four times as many.
        hidden: Channels of the tokenizer's hidden layers.
        residual_width: Channels inside each of its two residual blocks.
        code_width: Width of a code's vector.
        num_codes: Codebook size.
        vectors: Vectors to quantize.
        width: Width of transformers.
        depth: Layers of transformers.
        heads: Attention heads of transformers.
        batch: Batch size of a prior's training step.
        stepwise: Batch sizes of stepwise sampling, a benchmark for each.
        lstm_width: Width of the LSTM, which has two layers.
        masked: Batch size of masked sampling.
        text_length: Tokens of a caption.
        vocabulary: Token ids of captions.
    """

    pixels: int
    pictures: int
    hidden: int
    residual_width: int
    code_width: int
    num_codes: int
    vectors: int
    width: int
    depth: int
    heads: int
    batch: int
    stepwise: tuple[int, ...]
    lstm_width: int
    masked: int
    text_length: int
    vocabulary: int

    @property
    def edge(self) -> int:
        """Rows and columns of a picture's codes."""
        return self.pixels // 4

    @property
    def length(self) -> int:
        """Number of codes of a picture."""
        return self.edge**2


FULL = Size(
    pixels=128,
    pictures=16,
    hidden=128,
    residual_width=32,
    code_width=64,
    num_codes=4096,
    vectors=8192,
    width=256,
    depth=12,
    heads=8,
    batch=4,
    stepwise=(1, 8),
    lstm_width=512,
    masked=8,
    text_length=77,
    vocabulary=2048,
)
SMALL = replace(FULL, pixels=64, depth=6, masked=4)


@dataclass(frozen=True)
class Implementation:
    """An implementation of a benchmark's task.

    Attributes:
        name: Its name in the table.
        run: Does the task once; returns the measurement if `Benchmark.returns_value`.
        parameters: Number of parameters including the codebook; 0 if there is no model.
        package: The package or checkout that it is part of.
        counted: Does the same by operations of torch, which can be counted; None for `run`.
        num_read: Numbers that a run has to read from memory, such as the weights at every step;
            0 if that takes little time.
    """

    name: str
    run: Callable[[], Any]
    parameters: int = 0
    package: str = "vqpriors"
    num_read: int = 0
    counted: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A task and its implementations.

    Attributes:
        work: Its name on the command line.
        size: Description of the task's size.
        unit: Unit of the measurements. If it ends in "/s", higher is better, otherwise lower.
        ours: Our implementation.
        peers: Implementations of installed packages.
        amount: Items in a run, such as pictures, for a unit that ends in "/s".
        precision: Precision of all implementations; None if nothing is computed.
        returns_value: Whether a run returns its measurement; otherwise its time is measured.
    """

    work: str
    size: str
    unit: str
    ours: Implementation
    peers: list[Implementation]
    amount: float = 1.0
    precision: Precision | None = None
    returns_value: bool = False


def measure(benchmark: Benchmark, *, repeats: int) -> list[float]:
    """Return the median measurement of our implementation and of each peer.

    The order rotates from repeat to repeat, so that changes of the machine's speed affect all
    implementations equally. Each runs once before that without being timed.
    """
    implementations = [benchmark.ours, *benchmark.peers]
    for implementation in implementations if not benchmark.returns_value else []:
        implementation.run()
    wait_for_gpu()
    values: list[list[float]] = [[] for _ in implementations]
    for repeat in range(repeats):
        for place in range(len(implementations)):
            chosen = (repeat + place) % len(implementations)
            values[chosen].append(_measure_once(benchmark, implementations[chosen]))
    return [median(each) for each in values]


def wait_for_gpu() -> None:
    """Wait until a GPU has done all that it was given; return at once without one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _measure_once(benchmark: Benchmark, implementation: Implementation) -> float:
    began = time.perf_counter()
    value = implementation.run()
    wait_for_gpu()
    seconds = time.perf_counter() - began
    if benchmark.returns_value:
        return value
    return benchmark.amount / seconds if benchmark.unit.endswith("/s") else seconds


def rows(
    benchmark: Benchmark, values: list[float], machine: Row, *, share: float | None = None
) -> list[Row]:
    """Return a row for each peer.

    Args:
        benchmark: The benchmark.
        values: The result of `measure`.
        share: The least time of our implementation on this machine as a share of its time.
        machine: "scale" (small or full), "threads", "hardware" and "commit".
    """
    precision = "-" if benchmark.precision is None else PRECISIONS[benchmark.precision]
    shared = {"work": benchmark.work, "unit": benchmark.unit, "ours": benchmark.ours.name}
    shared |= {"ours_value": _rounded(values[0]), "precision": precision, **machine}
    shared["share"] = "" if share is None else f"{share:.2f}"
    found = []
    for peer, value in zip(benchmark.peers, values[1:], strict=True):
        own = {"peer": f"{peer.package}: {peer.name}", "peer_version": _version(peer.package)}
        own |= {"peer_value": _rounded(value), "ratio": _rounded(values[0] / value)}
        found.append(shared | own | {"size": _size(benchmark, peer)})
    return found


def installed(peers: dict[str, Callable[[], Implementation]]) -> list[Implementation]:
    """Build the peers that are here.

    Args:
        peers: A function that builds the peer, by package or checkout.
    """
    return [
        build()
        for package, build in peers.items()
        if checkouts.is_used(package) or is_installed(package)
    ]


def is_installed(package: str) -> bool:
    """Return whether a package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _version(package: str) -> str:
    return checkouts.commit(package) if checkouts.is_used(package) else version(package)


def _size(benchmark: Benchmark, peer: Implementation) -> str:
    if not benchmark.ours.parameters:
        return benchmark.size
    counts = (f"{each.parameters / 1e6:.1f} M" for each in (benchmark.ours, peer))
    return f"{benchmark.size}; {' and '.join(counts)} parameters"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.4g}'):.10g}"
