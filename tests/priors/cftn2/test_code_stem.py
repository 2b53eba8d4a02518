import pytest
import torch
from torch.testing import assert_close

from tests.tiny import lively
from vqpriors.priors.cftn2.code_stem import Eyes


def eyes(grid, *, num_codes=5, width=4, depth=1):
    made = lively(Eyes(grid=grid, num_codes=num_codes, width=width, depth=depth)).double()
    made.learn(torch.randn(num_codes, 3, generator=torch.Generator().manual_seed(1)))
    return made


def seen(made, codes):
    """Return what is added at each cell; the cells' own vectors are zeros."""
    x = torch.zeros(*codes.shape, 4, dtype=torch.float64)
    return made(codes, x)


def moved(made, codes, cell):
    changed = codes.clone()
    changed[:, cell] = (codes[:, cell] + 1) % 5
    return (seen(made, changed) - seen(made, codes)).abs().sum(dim=(0, 2)) > 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_cell_sees_two_cells_further_in_each_direction_by_each_glance(depth):
    codes = torch.randint(5, (2, 55), generator=torch.Generator().manual_seed(0))
    found = moved(eyes((5, 11), depth=depth), codes, 2 * 11 + 5).view(5, 11)  # the middle
    expected = torch.zeros(5, 11, dtype=torch.bool)
    expected[max(0, 2 - 2 * depth) : 3 + 2 * depth, 5 - 2 * depth : 6 + 2 * depth] = True
    assert torch.equal(found, expected)


def test_rows_do_not_run_into_each_other():
    codes = torch.randint(5, (2, 24), generator=torch.Generator().manual_seed(0))
    assert not moved(eyes((4, 6)), codes, 5).view(4, 6)[:, :3].any()  # the end of the first row


def test_pattern_is_seen_alike_wherever_it_lies():
    made = eyes((7, 13))
    here, there = torch.zeros(2, 1, 91, dtype=torch.int64)
    here[:, 3 * 13 + 4] = there[:, 3 * 13 + 7] = 2
    found, shifted = (seen(made, each).view(7, 13, 4) for each in (here, there))
    assert_close(found[2:5, 2:7], shifted[2:5, 5:10])


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_codes_look_as_far_apart_as_their_vectors(channels):
    made = Eyes(grid=(1, 1), num_codes=6, width=8, depth=0)
    codebook = 7 + 3 * torch.randn(6, channels, generator=torch.Generator().manual_seed(0))
    made.learn(codebook)
    expected = torch.cdist(codebook, codebook)
    found = torch.cdist(made.looks, made.looks)
    assert_close(found / found.max(), expected / expected.max())
    assert_close(made.looks.square().mean(), torch.tensor(1.0))


def test_wider_vectors_are_cut_to_size():
    made = Eyes(grid=(1, 1), num_codes=50, width=8, depth=0)
    made.learn(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)))
    assert made.looks.square().mean().item() == pytest.approx(1.0, abs=0.2)


def test_codes_that_are_all_alike_look_like_nothing():
    made = Eyes(grid=(1, 1), num_codes=3, width=4, depth=0)
    made.learn(torch.ones(3, 2))
    assert not made.looks.any()


def test_looks_are_kept_with_the_weights():
    made = eyes((1, 1))
    other = Eyes(grid=(1, 1), num_codes=5, width=4, depth=1).double()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.looks, made.looks)
    assert other.looks.any()
