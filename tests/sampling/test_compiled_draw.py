"""Draws of codes in C against the distribution they must follow, in float64."""

import pytest
import torch

from tests.marks import needs_avx512, needs_fast_bfloat16
from tests.threads import by_threads
from vqpriors.core.compiler import compiling
from vqpriors.sampling.base import compiled_draw
from vqpriors.sampling.base.compiled_draw import draw

ROWS, HIGHEST = 300, 1 - 2**-53
CODES = [1, 15, 64, 300, 4096]  # less than a register, several, and blocks of them

every_dtype = pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.bfloat16, marks=needs_fast_bfloat16),
        pytest.param(torch.float32, marks=needs_avx512),
    ],
)


def logits_of(count, dtype, scale=3.0):
    return (torch.randn(ROWS, count, generator=torch.Generator().manual_seed(count)) * scale).to(
        dtype
    )


def uniform_numbers():
    uniform = torch.rand(ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    uniform[:2] = torch.tensor([0.0, HIGHEST])
    return uniform


@every_dtype
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.3])
@pytest.mark.parametrize("count", CODES)
def test_draws_follow_the_distribution(dtype, temperature, count):
    logits, uniform = logits_of(count, dtype), uniform_numbers()
    codes, log_probabilities = draw(logits, uniform, temperature)
    until = (logits.double() / temperature).softmax(-1).cumsum(-1)
    upper = until.gather(1, codes[:, None])[:, 0]
    lower = upper - until.diff(dim=1, prepend=torch.zeros(ROWS, 1)).gather(1, codes[:, None])[:, 0]
    error = 1e-5 if dtype == torch.bfloat16 else 1e-6
    assert ((uniform >= lower - error) & (uniform <= upper + error)).all()
    exact = logits.double().log_softmax(-1).gather(1, codes[:, None])[:, 0]
    torch.testing.assert_close(log_probabilities.double(), exact, atol=error, rtol=0)


@every_dtype
def test_codes_of_probability_0_are_never_drawn(dtype):
    logits = logits_of(600, dtype)
    logits[:, [*range(270), *range(275, 290), *range(300, 600)]] = -torch.inf
    for uniform in (uniform_numbers(), torch.zeros(ROWS), torch.full((ROWS,), HIGHEST)):
        codes, log_probabilities = draw(logits, uniform, 1.0)
        assert log_probabilities.isfinite().all()
        assert not logits.gather(1, codes[:, None]).isinf().any()
    assert set(codes.tolist()) == {299}
    logits[:, :270] = -1e4  # no -inf, but too low for any draw
    assert (draw(logits, torch.zeros(ROWS), 1.0)[0] == 270).all()


@every_dtype
def test_the_last_code_before_those_of_probability_0_is_the_highest(dtype):
    logits = logits_of(600, dtype).repeat(20, 1) + torch.arange(20).repeat_interleave(ROWS)[:, None]
    logits = logits.to(dtype)
    logits[:, 512:] = -torch.inf
    codes, _ = draw(logits, torch.full((len(logits),), HIGHEST), 1.3)
    assert (codes > 400).all()
    assert (codes < 512).all()


@every_dtype
def test_a_row_that_is_not_a_distribution_gives_no_code(dtype):
    logits = logits_of(100, dtype)
    logits[1, 30], logits[2, 99], logits[3] = torch.nan, torch.inf, -torch.inf
    codes, log_probabilities = draw(logits, uniform_numbers(), 1.0)
    assert codes[1:4].tolist() == [100] * 3
    assert log_probabilities[1:4].isnan().all()
    assert (codes < 100).sum() == log_probabilities.isfinite().sum() == ROWS - 3


@every_dtype
def test_draws_are_the_same_for_any_number_of_threads_and_rows(dtype):
    logits, uniform = logits_of(300, dtype), uniform_numbers()
    found = by_threads(lambda: draw(logits, uniform, 1.3), 1, 2, 7)
    parts = [draw(*part, 1.3) for part in zip(logits.split(7), uniform.split(7), strict=True)]
    found.append([torch.cat(each) for each in zip(*parts, strict=True)])
    for each in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], each, strict=True))


@needs_fast_bfloat16
def test_it_is_used_only_if_wanted():
    logits = logits_of(15, torch.bfloat16)
    assert not compiled_draw.is_usable(logits)
    with compiling(True):
        assert compiled_draw.is_usable(logits)
        assert not compiled_draw.is_usable(logits.double())
