import pytest
import torch
from torch import nn
from torch.testing import assert_close

from vqpriors.training.weights import MovingAverage


class Point(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("seen", torch.tensor([value]))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, 10.0),  # the first weights are copied
        (1, 10 - 8 * 2 / 11),  # (1 + 1) / (10 + 1) of the old average is kept
        (1000, 2 + 8 * 0.1),  # `decay` is kept from then on
    ],
)
def test_moving_average_forgets_its_start_faster_at_first(count, expected):
    average = MovingAverage(Point(2.0), decay=0.9)
    average.num_updates = count
    average.update(Point(10.0))
    assert_close(average.module.weight.data, torch.tensor([expected]))
    assert average.module.seen == 10.0  # buffers are not averaged
    assert average.num_updates == count + 1
