import pytest
from torch.testing import assert_close

from vqpriors.training.lr_schedule import lr_factor


def factors(total, *, warmup_steps=2, min_lr_ratio=0.1):
    settings = {"warmup_steps": warmup_steps, "min_lr_ratio": min_lr_ratio}
    return [lr_factor(step, total=total, **settings) for step in range(total)]


def test_learning_rate_warms_up_linearly_and_decays_by_a_cosine():
    cosine = [1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5]
    found = factors(6, warmup_steps=2, min_lr_ratio=0.0)
    assert_close(found[:2], [0.5, 1.0])
    assert_close(found[2:], cosine)


def test_cosine_approaches_the_minimum_ratio():
    assert factors(1000, warmup_steps=0, min_lr_ratio=0.1)[-1] == pytest.approx(0.1, abs=1e-5)


def test_warm_up_takes_at_most_half_of_a_short_phase():
    assert factors(4, warmup_steps=100)[:3] == [0.5, 1.0, 1.0]


def test_phase_of_one_step_runs_at_its_peak():
    assert factors(1, warmup_steps=100) == [1.0]
