import numpy as np
import pytest

from vqpriors.evaluation import memorisation
from vqpriors.evaluation.memorisation import (
    nearest_training_distances,
    nearest_training_images,
    without_color,
)


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def test_copies_have_distance_zero():
    training = pictures(20, 3, 8, 8)
    assert nearest_training_distances(training[[3, 17, 3]], training).tolist() == [0, 0, 0]


def test_distance_to_the_nearest_matches_hand_computed_value():
    images = np.array([0, 100, 255], np.uint8).reshape(3, 1, 1, 1)
    training = np.array([51, 102], np.uint8).reshape(2, 1, 1, 1)
    expected = np.array([51, 2, 153]) / 255
    assert nearest_training_distances(images, training) == pytest.approx(expected)


def test_distance_is_root_mean_square_over_pixels():
    training = np.zeros((1, 1, 1, 2), np.uint8)
    images = np.array([[30, 40], [0, 0]], np.uint8).reshape(2, 1, 1, 2)
    expected = [np.sqrt((30**2 + 40**2) / 2) / 255, 0]
    assert nearest_training_distances(images, training) == pytest.approx(expected)


def test_chunk_sizes_do_not_change_nearest_images(monkeypatch):
    images, training = pictures(9, 3, 6, 6), pictures(50, 3, 6, 6, seed=1)
    pairs = (images[:, None].astype(int) - training[None]) ** 2
    expected = pairs.sum(axis=(2, 3, 4)).argmin(axis=1)
    np.testing.assert_array_equal(nearest_training_images(images, training), expected)
    monkeypatch.setattr(memorisation, "CHUNK_VALUES", 108 * 7)
    monkeypatch.setattr(memorisation, "CHUNK_IMAGES", 4)
    np.testing.assert_array_equal(nearest_training_images(images, training), expected)


def test_other_shapes_and_no_images_raise():
    with pytest.raises(ValueError, match="images of one shape"):
        nearest_training_distances(pictures(2, 1, 8, 8), pictures(2, 3, 8, 8))
    with pytest.raises(ValueError, match="images of one shape"):
        nearest_training_distances(pictures(0, 1, 8, 8), pictures(2, 1, 8, 8))


def test_copy_in_another_color_is_a_copy_without_color():
    shape = np.zeros((8, 8), bool)
    shape[2:6, 3:5] = True
    colors = [((232, 36, 48), (0, 0, 0)), ((52, 120, 255), (255, 255, 255))]
    first, second = (
        np.where(shape, *(np.array(c, np.uint8)[:, None, None] for c in pair))[None]
        for pair in colors
    )
    other = np.roll(first, 2, axis=3)
    gray = [without_color(pixels) for pixels in (first, second, other)]
    assert nearest_training_distances(gray[0], gray[1])[0] < 0.02
    assert nearest_training_distances(gray[2], gray[1])[0] > 0.1
    assert nearest_training_distances(first, second)[0] > 0.1
