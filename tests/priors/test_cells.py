"""Cells of a mask, compared with the mask as an index."""

import pytest
import torch

from vqpriors.priors.base.cells import Cells

MASK = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])


@pytest.mark.parametrize("count", [None, 4])
@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 2)])
def test_values_at_cells_are_those_of_the_mask(count, shape):
    values, cells = torch.rand(shape), Cells.of(MASK, count)
    assert len(cells) == 4
    assert torch.equal(cells.take(values), values[MASK])


def test_values_are_put_at_cells_only():
    found = Cells.of(MASK).put(torch.tensor([1, 2, 3, 4]), into=torch.zeros(3, 3).long())
    assert found.tolist() == [[1, 0, 2], [0, 0, 0], [0, 3, 4]]


@pytest.mark.parametrize("mask", [torch.zeros(2, 3), torch.zeros(0, 3)])
def test_there_may_be_no_cell(mask):
    cells = Cells.of(mask.bool())
    assert len(cells) == 0
    assert cells.take(torch.rand(*mask.shape, 5)).shape == (0, 5)


def test_cells_of_copies_follow_one_another():
    values = torch.rand(6, 3)
    assert torch.equal(Cells.of(MASK).repeated(2).take(values), values[MASK.repeat(2, 1)])
