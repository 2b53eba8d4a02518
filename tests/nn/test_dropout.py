from unittest import mock

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from vqpriors.nn import dropout
from vqpriors.nn.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_dropped_everywhere_and_the_rest_scaled(rate):
    torch.manual_seed(0)
    x = torch.ones(1001, 403, requires_grad=True)  # not a multiple of 4 numbers
    out = Dropout(rate)(x)
    dropped = (out == 0).double()
    assert_close(out[out != 0].unique(), torch.tensor([1 / (1 - rate)]), rtol=1e-4, atol=0)
    # Four elements share a number of the generator; the error of a share is at most 0.0016.
    for lane in range(4):
        assert abs(dropped.flatten()[lane::4].mean() - rate) < 0.008
    together = dropped.flatten()[:-3].view(-1, 4)
    assert torch.corrcoef(together.T).fill_diagonal_(0).abs().max() < 0.02
    out.sum().backward()
    assert_close(x.grad, out.detach(), rtol=0, atol=0)


def test_a_quarter_of_the_16_bit_numbers_drops():
    bits = torch.tensor([[-(2**15), -1, 2**14 - 1], [2**14, 2**14 + 1, 2**15 - 1]])
    with mock.patch.object(dropout, "_random_int16", return_value=bits):
        out = Dropout(0.25)(torch.ones(2, 3))
    assert_close(out, torch.tensor([[4 / 3] * 3, [0.0] * 3]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_repeats_from_the_seed_in_the_dtype_of_the_input(dtype):
    x, drop = torch.randn(5, 7, dtype=dtype), Dropout(0.3)
    first, second, other = (torch.manual_seed(seed) and drop(x) for seed in (1, 1, 2))
    assert first.dtype == dtype
    assert_close(first, second, rtol=0, atol=0)
    assert (first != other).any()


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1.0])
def test_rates_without_choice_are_those_of_torch(rate):
    x = torch.randn(5, 7)
    assert_close(Dropout(rate)(x), nn.Dropout(rate)(x), rtol=0, atol=1e-6)


def test_nothing_is_dropped_in_evaluation():
    x = torch.randn(5, 7)
    assert Dropout(0.5).eval()(x) is x
