import pytest

from vqpriors.sampling.maskgit.annealing import falling, rising


def test_constant_annealing_is_1_in_every_step():
    assert [falling("constant", step, 4) for step in range(4)] == [1.0] * 4
    assert [rising("constant", step, 4) for step in range(4)] == [1.0] * 4


def test_linear_annealing_by_hand():
    assert [falling("linear", step, 4) for step in range(4)] == [0.75, 0.5, 0.25, 0.0]
    assert [rising("linear", step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_annealing_by_hand():
    falls = [falling("cosine", step, 4) for step in range(4)]
    rises = [rising("cosine", step, 4) for step in range(4)]
    assert falls == pytest.approx([0.6173, 0.2929, 0.0761, 0.0], abs=1e-4)
    assert rises == pytest.approx([0.0761, 0.2929, 0.6173, 1.0], abs=1e-4)


@pytest.mark.parametrize("annealing", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [2, 3, 7, 12, 49])
def test_last_of_several_steps_is_exact(annealing, steps):
    assert falling(annealing, steps - 1, steps) == 0.0
    assert rising(annealing, steps - 1, steps) == 1.0


@pytest.mark.parametrize("annealing", ["constant", "linear", "cosine"])
def test_sole_step_keeps_the_setting(annealing):
    assert falling(annealing, 0, 1) == 1.0
    assert rising(annealing, 0, 1) == 1.0
