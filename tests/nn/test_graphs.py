import contextlib
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from vqpriors.nn.graphs import record, try_recording

GPU, CPU = SimpleNamespace(is_cuda=True), SimpleNamespace(is_cuda=False)


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def fail(kind):
    def make():
        raise kind("no graphs here\nand a stack")

    return make


@torch.inference_mode()
def test_a_recording_that_fails_is_told():
    with pytest.warns(UserWarning, match="without a CUDA graph, which failed: no graphs here$"):
        assert try_recording(fail(RuntimeError), like=GPU) is None
    with pytest.raises(torch.OutOfMemoryError):
        try_recording(fail(torch.OutOfMemoryError), like=GPU)
    assert try_recording(lambda: "graph", like=GPU) == "graph"


def test_nothing_is_recorded_with_gradients_or_on_a_cpu():
    for mode, like in ((torch.no_grad, GPU), (torch.enable_grad, GPU), (torch.inference_mode, CPU)):
        with mode():
            assert try_recording(fail(AssertionError), like=like) is None


class Streams:
    """Stands for torch.cuda, notes the order of what happens, and fails in a recording."""

    def __init__(self, monkeypatch):
        self.seen, self.current = [], self.stream("main")
        side = self.stream("side")
        monkeypatch.setattr("vqpriors.nn.graphs._stream", lambda _: side)
        monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self.current)
        monkeypatch.setattr(torch.cuda, "set_stream", self.use)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", mock.Mock)

    def stream(self, name):
        return SimpleNamespace(
            name=name, wait_stream=lambda other: self.seen.append(f"{name} waits for {other.name}")
        )

    def use(self, stream):
        self.current = stream
        self.seen.append(f"use {stream.name}")


def run(streams, step):
    def make():
        device, reset = torch.device("cpu"), lambda: streams.seen.append("reset")
        return record(step, device=device, reset=reset)

    with pytest.warns(UserWarning, match="CUDA graph"), torch.inference_mode():
        assert try_recording(make, like=GPU) is None
    return streams.seen


BEFORE, AFTER = ["side waits for main", "use side"], ["use main", "main waits for side"]


def test_each_trial_is_undone_and_the_stream_restored_after_a_failure(monkeypatch):
    streams = Streams(monkeypatch)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: fail(RuntimeError)())
    seen = run(streams, lambda: streams.seen.append("step"))
    assert seen == [*BEFORE, "step", "reset", "step", "reset", *AFTER]


def test_a_trial_that_fails_is_undone(monkeypatch):
    assert run(Streams(monkeypatch), fail(RuntimeError)) == [*BEFORE, "reset", *AFTER]
