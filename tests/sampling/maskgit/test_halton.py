import pytest
import torch

from vqpriors.sampling.maskgit.halton import halton_ranks


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (2, 2), (7, 7), (16, 16), (1, 9), (9, 1), (4, 7), (7, 4), (32, 8)]
)
def test_ranks_are_a_permutation(rows, columns):
    ranks = halton_ranks(rows, columns)
    assert ranks.dtype == torch.int64
    assert ranks.sort().values.tolist() == list(range(rows * columns))


def test_ranks_by_hand():
    # Halves of rows, thirds of columns: (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9), ...
    assert halton_ranks(2, 2).tolist() == [2, 1, 0, 3]
    assert halton_ranks(2, 3).tolist() == [5, 3, 1, 2, 0, 4]


def early(rows, columns, count):
    cells = halton_ranks(rows, columns).argsort()[:count]
    return torch.stack([cells // columns, cells % columns], dim=1)


def test_early_cells_lie_in_different_rows_and_columns():
    assert early(8, 9, 8)[:, 0].unique().numel() == 8
    assert early(8, 9, 9)[:, 1].unique().numel() == 9


def test_early_cells_are_far_apart():
    cells = early(16, 16, 16).double()
    assert torch.pdist(cells).min() >= 2  # neighbours, as in raster or random order, are 1 apart
    for half in (cells[:, 0] < 8, cells[:, 1] < 8):
        assert 6 <= half.sum() <= 10
