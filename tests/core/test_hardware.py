import copy
import threading

import pytest
import torch

from vqpriors.core import hardware
from vqpriors.core.hardware import autocast, autocast_once, best_device, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has", "chosen", "expected"),
    [
        ((), None, "cpu"),
        (("cuda",), None, "cuda"),
        (("mps",), None, "cpu"),  # only if it is chosen
        (("mps",), "mps", "mps"),
        (("cuda",), "cpu", "cpu"),
        (("cuda",), "", "cuda"),
    ],
)
def test_environment_chooses_the_device(monkeypatch, has, chosen, expected):
    for name, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        monkeypatch.setattr(module, "is_available", lambda name=name: name in has)
    if chosen is None:
        monkeypatch.delenv("VQPRIORS_DEVICE", raising=False)
    else:
        monkeypatch.setenv("VQPRIORS_DEVICE", chosen)
    assert best_device().type == expected


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ("mps", "mps is not available on this machine; unset it"),
        ("gpu", "must be cpu, cuda, mps, or unset, got 'gpu'"),
    ],
)
def test_device_that_is_not_there_is_refused(monkeypatch, chosen, problem):
    monkeypatch.setenv("VQPRIORS_DEVICE", chosen)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"^VQPRIORS_DEVICE: {problem}$"):
        best_device()


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bf16"), (False, "no")])
def test_auto_is_bfloat16_if_that_is_faster(monkeypatch, is_fast, expected):
    monkeypatch.setattr(hardware, "_has_fast_bfloat16", lambda device: is_fast)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("no", CPU) == "no"
    assert resolve_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_products_are_computed_in_the_precision(precision, dtype):
    x = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (x @ x).dtype == dtype


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_autocast_once_equals_autocast_and_restores_weights(precision):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))
    before, x = copy.deepcopy(model.state_dict()), torch.randn(3, 8)
    with torch.no_grad():
        with autocast(precision, CPU):
            expected = model(x)
        with autocast_once(model, precision):
            assert model[0].weight.dtype == expected.dtype == model[2].bias.dtype
            found = model(x)
    assert torch.equal(found, expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[0].weight.dtype == torch.float32


def test_autocast_once_restores_weights_after_an_exception():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="on purpose"), autocast_once(model, "bf16"):
        raise RuntimeError("on purpose")
    assert model.weight.dtype == torch.float32


def test_autocast_once_locks_out_other_threads():
    model, found = torch.nn.Linear(2, 2), []

    def look():
        with autocast_once(model, "no"):
            found.append(model.weight.dtype)

    with autocast_once(model, "bf16"):
        other = threading.Thread(target=look)
        other.start()
        other.join(timeout=0.1)
        assert other.is_alive()
    other.join()
    assert found == [torch.float32]
