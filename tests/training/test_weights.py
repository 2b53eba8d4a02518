import pytest
import torch
from torch.testing import assert_close

from vqpriors.training.weights import ema_update


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, 10 - 8 * 2 / 11),  # (1 + 1) / (10 + 1) of the old average is kept
        (1000, 2 + 8 * 0.1),  # `decay` is kept from then on
    ],
)
def test_moving_average_forgets_its_start_faster_at_first(count, expected):
    averaged, current = [torch.tensor([2.0])], [torch.tensor([10.0])]
    ema_update(0.9, lambda: count)(averaged, current, torch.tensor(-1))
    assert_close(averaged[0], torch.tensor([expected]))
