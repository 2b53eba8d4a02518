import pytest
import torch

from vqpriors import hardware
from vqpriors.hardware import autocast, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("is_fast", "expected"), [(True, "bf16"), (False, "no")])
def test_auto_is_bfloat16_where_that_is_faster(monkeypatch, is_fast, expected):
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
