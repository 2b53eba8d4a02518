import numpy as np
import torch

from vqpriors.data.pixels import tile, to_uint8, to_unit_range


def test_every_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert (to_uint8(to_unit_range(pixels)) == np.arange(256)).all()


def test_values_out_of_range_are_clamped_and_others_rounded():
    images = torch.tensor([-9.0, -1.0, 0.0, 0.004, 1.0, 9.0])
    assert to_uint8(images).tolist() == [0, 0, 128, 128, 255, 255]
    assert to_uint8(images).dtype == np.uint8


def test_tiles_by_hand():
    pixels = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)[:, None, None, :]
    expected = [
        [1, 1, 2, 2, 255, 3, 3, 4, 4],
        [1, 1, 2, 2, 255, 3, 3, 4, 4],
        [255] * 9,
        [5, 5, 6, 6, 255, 255, 255, 255, 255],
        [5, 5, 6, 6, 255, 255, 255, 255, 255],
    ]
    assert tile(pixels, columns=2, gap=1, scale=2).tolist() == [expected]
