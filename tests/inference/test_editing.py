import numpy as np
import pytest

from vqpriors.data.pixels import upscale_cells
from vqpriors.inference.editing import EDITS, codes_to_keep, edit_mask


def marked(*pixels, size=(4, 6)):
    mask = np.zeros(size, dtype=bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


@pytest.mark.parametrize(
    ("pixels", "kept"),
    [
        ([], [1, 1, 1, 1, 1, 1]),
        ([(0, 0)], [0, 1, 1, 1, 1, 1]),
        ([(1, 1)], [0, 1, 1, 1, 1, 1]),
        ([(1, 2)], [1, 0, 1, 1, 1, 1]),
        ([(3, 5)], [1, 1, 1, 1, 1, 0]),
        ([(2, 0), (3, 1), (0, 4)], [1, 1, 0, 0, 1, 1]),
        ([(row, 3) for row in range(4)], [1, 0, 1, 1, 0, 1]),
    ],
)
def test_patch_with_one_marked_pixel_is_redrawn(pixels, kept):
    found = codes_to_keep(marked(*pixels), 2, 3)
    assert found.dtype == bool
    assert found.astype(int).tolist() == kept


def test_patches_of_one_pixel_give_the_inverted_mask():
    mask = marked((1, 2), (3, 3))
    assert (codes_to_keep(mask, 4, 6) == ~mask.reshape(-1)).all()


@pytest.mark.parametrize("size", [(5, 6), (4, 5)])
def test_mask_of_another_size_is_refused(size):
    with pytest.raises(
        ValueError, match=f"^mask: .* multiples of 3 and 2 pixels, got {size[1]} x {size[0]};"
    ):
        codes_to_keep(marked(size=size), 2, 3)


def test_mask_with_channels_is_refused():
    with pytest.raises(ValueError, match=r"^mask: .*got 3 x 6 x 4;"):
        codes_to_keep(np.zeros((4, 6, 3), dtype=bool), 2, 3)


def kept(edit, rows, columns, **changes):
    settings = {"count": 2, "seed": 0} | changes
    found = edit_mask(edit, rows, columns, **settings)
    assert found.dtype == bool
    assert found.shape == (settings["count"], rows * columns)
    return found.reshape(-1, rows, columns).astype(int).tolist()


def test_edits_of_4_by_4_codes_by_hand():
    middle = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert kept("out-painting", 4, 4) == [middle] * 2
    assert kept("in-painting", 4, 4) == [[[1 - cell for cell in row] for row in middle]] * 2
    assert kept("completion", 4, 4) == [[[1] * 4] * 2 + [[0] * 4] * 2] * 2


def test_edits_of_7_by_7_codes_by_hand():
    middle = [[0] * 7, *[[0, 1, 1, 1, 1, 1, 0]] * 5, [0] * 7]
    assert kept("out-painting", 7, 7) == [middle] * 2
    assert kept("in-painting", 7, 7) == [[[1 - cell for cell in row] for row in middle]] * 2
    assert kept("completion", 7, 7) == [[[1] * 7] * 3 + [[0] * 7] * 4] * 2


def test_edits_of_an_oblong_grid_by_hand():
    assert kept("out-painting", 1, 4, count=1) == [[[0, 1, 1, 0]]]
    assert kept("completion", 2, 3, count=1) == [[[1, 1, 1], [0, 0, 0]]]


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (7, 7), (2, 3)])
def test_variation_keeps_a_different_half_of_each_picture(rows, columns):
    found = np.array(kept("variation", rows, columns, count=20))
    assert (found.sum((1, 2)) == rows * columns // 2).all()
    assert len(np.unique(found, axis=0)) > 10


def test_variation_depends_only_on_the_seed():
    assert kept("variation", 7, 7) == kept("variation", 7, 7)
    assert kept("variation", 7, 7) != kept("variation", 7, 7, seed=1)


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 16, 32])
@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_keeps_some_codes_and_draws_some(edit, size):
    found = edit_mask(edit, size, size, count=1, seed=0)
    assert found.any()
    assert not found.all()


def test_masks_of_codes_upscale_to_their_patches():
    cells = np.array([[1, 0, 0, 0, 0, 1]], dtype=bool)
    found = upscale_cells(cells, size=(4, 6), grid=(2, 3))
    assert found.dtype == bool
    assert found.shape == (1, 1, 4, 6)
    assert found[0, 0].astype(int).tolist() == [[1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 0, 0, 1, 1]] * 2


def test_upscaled_masks_turn_back_into_masks_of_codes():
    kept = edit_mask("variation", 7, 4, count=3, seed=0)
    pixels = upscale_cells(kept, size=(28, 12), grid=(7, 4))
    for cells, mask in zip(kept, ~pixels[:, 0], strict=True):
        assert (codes_to_keep(mask, 7, 4) == cells).all()
