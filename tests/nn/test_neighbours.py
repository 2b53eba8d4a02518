import torch
from torch.testing import assert_close

from tests.tiny import lively
from vqpriors.nn.neighbours import Neighbours


def layer(grid):
    return lively(Neighbours(grid=grid, width=4)).double()


def cells(count, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, count, 4, generator=generator, dtype=torch.float64)


def test_cell_sees_two_cells_in_each_direction_and_no_further():
    made, x = layer((5, 7)), cells(35)
    changed = x.clone()
    changed[:, 2 * 7 + 3] += 1  # the middle
    moved = (made(changed) - made(x)).abs().sum(dim=(0, 2)).view(5, 7) > 0
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[:, 1:6] = True
    assert torch.equal(moved, expected)


def test_pattern_is_seen_alike_wherever_it_lies():
    made, x = layer((7, 9)), torch.zeros(1, 63, 4, dtype=torch.float64)
    here, there = x.clone(), x.clone()
    here[:, 3 * 9 + 3] = there[:, 3 * 9 + 5] = cells(1)[:1, 0]
    found, moved = (made(each).view(7, 9, 4) for each in (here, there))
    assert_close(found[1:6, 1:6], moved[1:6, 3:8])


def test_rows_do_not_run_into_each_other():
    made, x = layer((4, 6)), cells(24)
    changed = x.clone()
    changed[:, 5] += 1  # the end of the first row
    moved = (made(changed) - made(x)).abs().sum(dim=(0, 2)).view(4, 6) > 0
    assert not moved[:, :3].any()
