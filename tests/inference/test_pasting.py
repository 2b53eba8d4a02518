"""Pasting of kept pixels over in-painted pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.parts import SIZE, make_parts, picture, same
from vqpriors.inference.generator import Generator
from vqpriors.inference.pasting import paster, redrawn_share


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "data"
    make_parts(path, "cftn2")
    return Generator.load(path)


def row(*values):
    return np.array([values])


def test_share_of_the_redrawn_picture_by_hand():
    marked = row(0, 0, 0, 1, 1, 0, 0, 0).astype(bool)
    found = redrawn_share(marked, width=1)
    np.testing.assert_allclose(found, row(0, 0, 0.5, 1, 1, 0.5, 0, 0))
    found = redrawn_share(marked, width=2)
    np.testing.assert_allclose(found, row(0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3, 0))


def test_soft_edge_is_square_and_does_not_wrap_around():
    marked = np.zeros((4, 4), dtype=bool)
    marked[0, 0] = True
    expected = [[1, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(redrawn_share(marked, width=1), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_mixed_by_hand(channels):
    original = np.full((channels, 1, 4), 100, np.uint8)
    drawn = Image.new(
        "L" if channels == 1 else "RGB", (4, 1), (200,) * channels if channels > 1 else 200
    )
    (found,) = paster(original, row(1, 0, 0, 0).astype(bool))([drawn])
    assert found.mode == drawn.mode
    levels = np.asarray(found).reshape(4, channels)
    assert levels.tolist() == [[200] * channels, [150] * channels, *[[100] * channels] * 2]


def corner():
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, 0, 3, 3))
    return mask


def test_pixels_away_from_the_mask_are_kept_exactly(generator):
    original = np.asarray(picture())
    (pasted,) = generator.inpaint(picture(), corner(), "a red six")
    (decoded,) = generator.inpaint(picture(), corner(), "a red six", paste=False)
    pasted, decoded = np.asarray(pasted), np.asarray(decoded)
    assert (pasted[:3, :3] == decoded[:3, :3]).all()
    assert (pasted[4:] == original[4:]).all()
    assert (pasted[:, 4:] == original[:, 4:]).all()
    assert (decoded[4:] != original[4:]).mean() > 0.5


def test_previews_are_pasted_too(generator):
    seen = []
    drawn = generator.inpaint(picture(), corner(), "a red six", callback=seen.append)
    assert same(seen[-1], drawn)
    for (frame,) in seen:
        assert (np.asarray(frame)[4:] == np.asarray(picture())[4:]).all()
