import pytest
import torch
from torch import nn

from vqpriors.core.hardware import is_out_of_memory
from vqpriors.training import batch_size
from vqpriors.training.batch_size import largest_batch


class Rows:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def batch(self, rows, generator):
        return {"x": torch.ones(len(rows), 256)}


class Square(nn.Module):
    """Saves its input, 256 numbers of 4 bytes a row, and as many results, for backward."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(256))
        self.register_buffer("calls", torch.tensor(0))

    def losses(self, batch):
        self.calls += 1
        return {"error": (batch["x"] * self.gain).square().sum()}


def found(monkeypatch, *, free, count=10**6, world=1):
    monkeypatch.setattr(batch_size, "_free_bytes", lambda device: free)
    model = Square()
    size = largest_batch(model, Rows(count), device=torch.device("cpu"), world=world)
    assert model.calls == 0, "the model itself was run"
    return size


def test_batch_size_follows_free_memory(monkeypatch):
    each = 2 * 256 * 4 * batch_size.HEADROOM
    overhead = 256 * 4 * batch_size.HEADROOM
    assert found(monkeypatch, free=100 * each + 9 * overhead) == 64
    assert found(monkeypatch, free=300 * each) == 256
    assert found(monkeypatch, free=300 * each, world=2) == 128


def test_batch_size_is_at_least_one(monkeypatch):
    assert found(monkeypatch, free=0) == 1


def test_batch_size_is_limited_by_steps_and_maximum(monkeypatch):
    assert found(monkeypatch, free=1e15) == batch_size.MAX_EXAMPLES
    assert found(monkeypatch, free=1e15, count=80) == 8  # 10 steps an epoch
    assert found(monkeypatch, free=1e15, count=80, world=2) == 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_out_of_memory_errors_are_recognised(error, expected):
    assert is_out_of_memory(error) is expected
