import math

import pytest
import torch
from torch.testing import assert_close

from vqpriors.sampling.base.logits import (
    draw,
    guide,
    keep_top_k,
    keep_top_p,
    likeliest,
    require_codes,
)

OFF = -math.inf


def test_guidance_of_scale_1_returns_the_conditional_exactly():
    conditional, unconditional = torch.randn(2, 1000) * 10, torch.randn(2, 1000) * 1e6
    assert torch.equal(guide(conditional, unconditional, 1), conditional)


def test_guidance_of_scale_0_returns_the_unconditional_exactly():
    conditional, unconditional = torch.randn(2, 1000) * 1e6, torch.randn(2, 1000) * 10
    assert torch.equal(guide(conditional, unconditional, 0), unconditional)


@pytest.mark.parametrize(("scale", "expected"), [(2.0, [5.0, -1.0]), (0.5, [2.0, 0.5])])
def test_guidance_pushes_away_from_the_null_condition(scale, expected):
    found = guide(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]), scale)
    assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [OFF, 4.0, OFF, OFF]),
        (2, [3.0, 4.0, 3.0, OFF]),  # equals of the k-th are kept
        (3, [3.0, 4.0, 3.0, OFF]),
        (0, [3.0, 4.0, 3.0, 1.0]),
        (4, [3.0, 4.0, 3.0, 1.0]),
        (9, [3.0, 4.0, 3.0, 1.0]),
    ],
)
def test_top_k_by_hand(k, expected):
    assert keep_top_k(torch.tensor([[3.0, 4.0, 3.0, 1.0]]), k).tolist() == [expected]


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.1, [False, True, False, False]),
        (0.49, [False, True, False, False]),
        (0.51, [True, True, False, False]),
        (0.74, [True, True, False, False]),
        (0.76, [True, True, True, False]),
        (0.99, [True] * 4),
        (1.0, [True] * 4),
    ],
)
def test_top_p_by_hand(p, kept):
    logits = torch.tensor([[0.25, 0.5, 0.15, 0.1]]).log()
    found = keep_top_p(logits, p)
    assert found.isfinite().tolist() == [kept]
    assert torch.equal(found[found.isfinite()], logits[found.isfinite()])


def test_top_p_keeps_the_first_of_equals():
    assert keep_top_p(torch.zeros(1, 4), 0.5).isfinite().tolist() == [[True, True, False, False]]


def test_top_p_ignores_codes_that_top_k_removed():
    logits = keep_top_k(torch.tensor([[0.4, 0.3, 0.3]]).log(), 1)
    assert keep_top_p(logits, 0.9).isfinite().tolist() == [[True, False, False]]


def test_rows_are_filtered_separately():
    logits = torch.tensor([[0.0, 5.0], [5.0, 0.0]])
    assert keep_top_k(logits, 1).argmax(1).tolist() == [1, 0]
    assert keep_top_p(logits, 0.5).isfinite().tolist() == [[False, True], [True, False]]


TINY = 1e-9


@pytest.mark.parametrize(
    ("uniform", "code"),
    [
        (0.0, 1),
        (0.5 - TINY, 1),
        (0.5 + TINY, 3),
        (0.75 - TINY, 3),
        (0.75 + TINY, 4),
        (1.0 - TINY, 4),
        (1.0, 4),
    ],
)
def test_draw_inverts_the_cumulative_distribution(uniform, code):
    logits = torch.tensor([[0.0, 0.5, 0.0, 0.25, 0.25, 0.0]], dtype=torch.float64).log()
    assert draw(logits, torch.tensor([uniform], dtype=torch.float64)).tolist() == [code]


def test_draw_frequencies_equal_the_probabilities():
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = draw(probabilities.log().expand(1000, -1), uniform)
    assert torch.bincount(drawn, minlength=4).tolist() == [100, 0, 600, 300]


@pytest.mark.parametrize("limit", [1, 21, 36])
def test_draws_do_not_depend_on_the_rows_computed_at_a_time(limit, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator)
    uniform = torch.rand(50, generator=generator, dtype=torch.float64)
    together = draw(logits, uniform)
    monkeypatch.setattr("vqpriors.sampling.base.logits.MAX_PROBABILITIES", limit)
    assert torch.equal(draw(logits, uniform), together)
    assert draw(logits[:0], uniform[:0]).shape == (0,)


def test_codes_of_probability_0_are_never_drawn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 1000, generator=generator).float()
    logits[torch.rand(300, 1000, generator=generator) < 0.9] = OFF
    for value in (0.0, 1.0, None):
        uniform = torch.rand(300, generator=generator, dtype=torch.float64)
        drawn = draw(logits, uniform if value is None else torch.full_like(uniform, value))
        assert logits.gather(1, drawn[:, None]).isfinite().all()


def test_likeliest_code_is_the_first_of_equals():
    assert likeliest(torch.tensor([[1.0, 3.0, 3.0], [OFF, OFF, 0.0]])).tolist() == [1, 2]


@pytest.mark.parametrize("pick", [likeliest, lambda x: draw(x, torch.full((2,), 0.5).double())])
def test_nan_logits_are_refused(pick):
    codes = pick(torch.tensor([[0.0, math.nan, 0.0], [9.0, 0.0, 0.0]]))
    assert codes.tolist() == [3, 0]
    with pytest.raises(ValueError, match=r"^prior: its logits are not numbers"):
        require_codes(codes, 3)
    require_codes(codes[1:], 3)
