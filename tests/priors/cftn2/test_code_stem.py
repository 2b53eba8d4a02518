import pytest
import torch
from torch.testing import assert_close

from tests.tiny import randomised
from vqpriors.priors.cftn2.code_stem import CodeStem


def stem_of(grid, *, num_codes=5, width=4, depth=1):
    stem = randomised(CodeStem(grid=grid, num_codes=num_codes, width=width, depth=depth)).double()
    stem.set_codebook(torch.randn(num_codes, 3, generator=torch.Generator().manual_seed(1)))
    return stem


def features(stem, codes):
    """Return the output at each cell where embeddings are zeros."""
    x = torch.zeros(*codes.shape, 4, dtype=torch.float64)
    return stem(codes, x)


def changed_cells(stem, codes, cell):
    """Mark the cells whose features depend on the code of one cell."""
    changed = codes.clone()
    changed[:, cell] = (codes[:, cell] + 1) % 5
    return (features(stem, changed) - features(stem, codes)).abs().sum(dim=(0, 2)) > 0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_each_block_widens_the_receptive_field_by_two_cells(depth):
    codes = torch.randint(5, (2, 55), generator=torch.Generator().manual_seed(0))
    found = changed_cells(stem_of((5, 11), depth=depth), codes, 2 * 11 + 5).view(
        5, 11
    )  # the middle
    expected = torch.zeros(5, 11, dtype=torch.bool)
    expected[max(0, 2 - 2 * depth) : 3 + 2 * depth, 5 - 2 * depth : 6 + 2 * depth] = True
    assert torch.equal(found, expected)


def test_ends_of_adjacent_rows_are_not_neighbours():
    codes = torch.randint(5, (2, 24), generator=torch.Generator().manual_seed(0))
    found = changed_cells(stem_of((4, 6)), codes, 5).view(4, 6)  # the end of the first row
    assert not found[:, :3].any()


def test_features_of_a_pattern_move_with_it():
    stem = stem_of((7, 13))
    here, there = torch.zeros(2, 1, 91, dtype=torch.int64)
    here[:, 3 * 13 + 4] = there[:, 3 * 13 + 7] = 2
    found, shifted = (features(stem, each).view(7, 13, 4) for each in (here, there))
    assert_close(found[2:5, 2:7], shifted[2:5, 5:10])


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_code_features_preserve_ratios_of_distances(channels):
    stem = CodeStem(grid=(1, 1), num_codes=6, width=8, depth=0)
    codebook = 7 + 3 * torch.randn(6, channels, generator=torch.Generator().manual_seed(0))
    stem.set_codebook(codebook)
    expected = torch.cdist(codebook, codebook)
    found = torch.cdist(stem.code_features, stem.code_features)
    assert_close(found / found.max(), expected / expected.max())
    assert_close(stem.code_features.square().mean(), torch.tensor(1.0))


def test_wider_codebook_is_projected_to_the_width():
    stem = CodeStem(grid=(1, 1), num_codes=50, width=8, depth=0)
    stem.set_codebook(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)))
    assert stem.code_features.square().mean().item() == pytest.approx(1.0, abs=0.2)


def test_equal_codebook_vectors_give_zero_features():
    stem = CodeStem(grid=(1, 1), num_codes=3, width=4, depth=0)
    stem.set_codebook(torch.ones(3, 2))
    assert not stem.code_features.any()


def test_code_features_are_saved_with_the_weights():
    stem = stem_of((1, 1))
    other = CodeStem(grid=(1, 1), num_codes=5, width=4, depth=1).double()
    other.load_state_dict(stem.state_dict())
    assert torch.equal(other.code_features, stem.code_features)
    assert other.code_features.any()
