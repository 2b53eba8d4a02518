import pytest
import torch

from vqpriors.sampling.base.schedules import falling, left_after, rising


@pytest.mark.parametrize(
    ("num_open", "steps", "expected"),
    [
        (6, 1, [0]),
        (7, 2, [4, 0]),  # 7 * 0.707 = 4.9
        (49, 2, [34, 0]),
        (6, 3, [5, 3, 0]),  # 6 * 0.866 = 5.2, 6 * 0.5
        (4, 4, [3, 2, 1, 0]),  # 3.7, 2.8, 1.5
        (10, 4, [9, 7, 3, 0]),
        (5, 5, [4, 3, 2, 1, 0]),  # 4.8, then 4.04 where one has to be written
        (3, 5, [2, 1, 0, 0, 0]),  # more steps than tokens
        (1, 3, [0, 0, 0]),
        (0, 3, [0, 0, 0]),
    ],
)
def test_tokens_left_by_hand(num_open, steps, expected):
    left = left_after(torch.tensor([num_open]), steps)
    assert left.dtype == torch.int64
    assert left[:, 0].tolist() == expected


def test_each_picture_has_its_own_count():
    left = left_after(torch.tensor([6, 0, 3]), 3)
    assert left.tolist() == [[5, 0, 2], [3, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 12, 49, 60])
def test_every_step_writes_until_none_is_left(steps):
    num_open = torch.arange(50)
    left = torch.cat([num_open[None], left_after(num_open, steps)])
    before, after = left[:-1], left[1:]
    assert ((after < before) | (before == 0)).all()
    assert (after >= 0).all()
    assert (left[-1] == 0).all()


def test_constant_schedules_are_1_in_every_step():
    assert [falling("constant", step, 4) for step in range(4)] == [1.0] * 4
    assert [rising("constant", step, 4) for step in range(4)] == [1.0] * 4


def test_linear_schedules_by_hand():
    assert [falling("linear", step, 4) for step in range(4)] == [0.75, 0.5, 0.25, 0.0]
    assert [rising("linear", step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_schedules_by_hand():
    falls = [falling("cosine", step, 4) for step in range(4)]
    rises = [rising("cosine", step, 4) for step in range(4)]
    assert falls == pytest.approx([0.6173, 0.2929, 0.0761, 0.0], abs=1e-4)
    assert rises == pytest.approx([0.0761, 0.2929, 0.6173, 1.0], abs=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12, 49])
def test_last_step_is_exactly_at_the_end(schedule, steps):
    assert falling(schedule, steps - 1, steps) == 0.0
    assert rising(schedule, steps - 1, steps) == 1.0
