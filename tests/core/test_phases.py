import re

import pytest

from tests.tiny import phase


def test_pair_is_interpolated_linearly_and_exact_at_its_ends():
    annealed = phase(options={"ratio": [0.1, 0.7], "falls": [3, 1], "fixed": 2, "mode": "a"})
    assert annealed.is_annealed
    assert annealed.options_at(0.0) == {"ratio": 0.1, "falls": 3.0, "fixed": 2, "mode": "a"}
    assert annealed.options_at(1.0) == {"ratio": 0.7, "falls": 1.0, "fixed": 2, "mode": "a"}
    found = annealed.options_at(0.25)
    assert found["ratio"] == pytest.approx(0.25)
    assert found["falls"] == 2.5


def test_weights_of_losses_are_annealed_likewise():
    annealed = phase(weights={"kl": [0.0, 0.8], "code": 2})
    assert annealed.weights_at(0.0) == {"kl": 0.0, "code": 2.0}
    assert annealed.weights_at(0.5) == {"kl": 0.4, "code": 2.0}
    assert annealed.weights_at(1.0) == {"kl": 0.8, "code": 2.0}
    assert not annealed.is_annealed  # no option


def test_single_values_are_not_annealed_and_keep_their_type():
    options = {"flag": True, "count": 3, "share": 0.5, "mode": "a"}
    found = phase(options=options)
    assert not found.is_annealed
    for fraction in (0.0, 0.3, 1.0):
        values = found.options_at(fraction)
        assert values == options
        assert [type(value) for value in values.values()] == [bool, int, float, str]


@pytest.mark.parametrize("weight", [0, 0.0, 2, [0.0, 1.0], [1, 0]])
def test_weights_of_losses_may_be_zero(weight):
    assert phase(weights={"kl": weight}).weights == {"kl": weight}


@pytest.mark.parametrize("bad", [-0.1, -1, [-0.1, 1.0], [1.0, -0.1]])
def test_weights_of_losses_are_not_negative(bad):
    problem = f"phases.main.weights: that of 'kl' must be at least 0, got {bad}"
    with pytest.raises(ValueError, match=re.escape(problem)):
        phase(weights={"kl": bad})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", None, [1.0]])
def test_weights_of_losses_are_finite_numbers_or_pairs(bad):
    with pytest.raises(ValueError, match=r"phases\.main\.weights\.kl\.float: .*, got "):
        phase(weights={"kl": bad})


@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], ["a", "b"], [True, False], [], None])
def test_options_are_single_values_or_pairs_of_numbers(bad):
    with pytest.raises(ValueError, match=r"phases\.main\.options\.ratio\."):
        phase(options={"ratio": bad})
