"""The search for the nearest code beside peers: time, and memory at its peak."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.speed import ours
from benchmarks.speed.contest import Contest, Side, installed
from benchmarks.speed.sizes import Size
from benchmarks.speed.tokenizer_peers import (
    DIFFUSERS,
    LUCIDRAINS,
    vector_quantize,
    vq_model_quantizer,
)
from vqpriors.core.hardware import Precision

FORGET_PEAK = Path("/proc/self/clear_refs")  # Linux
STATUS = Path("/proc/self/status")
WARM_UP = 64  # vectors
NAMES = {"vqpriors": "ema", DIFFUSERS: "VectorQuantizer", LUCIDRAINS: "VectorQuantize"}


def nearest_code(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield a contest of time, and where the system tells, one of memory; float32, as all do it."""
    contest = Contest(
        work="nearest-code",
        size=f"{size.vectors:,} vectors of {size.code_width} among {size.num_codes:,}",
        unit="vectors/s",
        amount=size.vectors,
        precision="no",
        ours=_timed("vqpriors", size),
        peers=installed({peer: partial(_timed, peer, size) for peer in (DIFFUSERS, LUCIDRAINS)}),
    )
    yield contest
    if FORGET_PEAK.exists():
        own, *peers = (_weighed(side, size) for side in (contest.ours, *contest.peers))
        yield replace(contest, unit="MB", ours=own, peers=peers, is_told=True)


def _timed(package: str, size: Size) -> Side:
    quantizer = _quantizer(package, size)
    run = _lookup(package, quantizer, size, size.vectors)
    return Side(NAMES[package], run, ours.num_parameters(quantizer), package)


def _weighed(side: Side, size: Size) -> Side:
    return replace(side, run=partial(_in_new_process, side.package, size))


def _in_new_process(package: str, size: Size) -> float:
    """Return the megabytes that a search takes, in a process that has freed no memory before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, package, size).result()


def _peak(package: str, size: Size) -> float:
    quantizer = _quantizer(package, size)
    _lookup(package, quantizer, size, WARM_UP)()
    run = _lookup(package, quantizer, size, size.vectors)
    FORGET_PEAK.write_text("5")
    before = _kilobytes("VmRSS")
    run()
    return (_kilobytes("VmHWM") - before) * 1024 / 1e6


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _quantizer(package: str, size: Size) -> nn.Module:
    builders = {DIFFUSERS: vq_model_quantizer, LUCIDRAINS: vector_quantize}
    if package in builders:
        return builders[package](size).eval()
    return ours.tokenizer(size).quantizer.eval()


def _lookup(package: str, quantizer: Any, size: Size, count: int) -> Callable[[], Any]:
    """Return a call of a quantizer with vectors as it wants them laid out."""
    vectors = torch.randn(count, size.code_width)
    if package == DIFFUSERS:
        vectors = vectors.T.contiguous()[None, :, :, None]  # (1, D, M, 1)
    elif package == LUCIDRAINS:
        vectors = vectors[None]

    @torch.inference_mode()
    def run() -> Any:
        return quantizer(vectors)

    return run
