import numpy as np
import torch

from vqpriors.training.image_examples import ImageExamples, shifted

PIXELS = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)


def test_pixels_are_scaled_to_minus_1_to_1():
    pixels = np.array([0, 51, 255], dtype=np.uint8).reshape(3, 1, 1, 1)
    images = ImageExamples(pixels).batch(torch.tensor([2, 0, 1]), None)["images"]
    assert images.dtype == torch.float32
    torch.testing.assert_close(images.flatten(), torch.tensor([1.0, -1.0, -0.6]))


def test_targets_are_optional():
    labels = torch.tensor([[1, -1], [0, 5]])
    batch = ImageExamples(PIXELS, targets={"labels": labels}).batch(torch.tensor([1]), None)
    assert batch["labels"].tolist() == [[0, 5]]
    assert ImageExamples(PIXELS).batch(torch.tensor([1]), None).keys() == {"images"}


def test_evaluation_has_no_shift():
    moving, still = ImageExamples(PIXELS, shift=2), ImageExamples(PIXELS)
    rows = torch.tensor([0, 1])
    assert torch.equal(moving.batch(rows, None)["images"], still.batch(rows, None)["images"])


def test_shift_is_equal_over_channels_and_repeats_edges():
    images = torch.arange(9.0).reshape(1, 1, 3, 3).expand(50, 2, 3, 3)
    offsets = torch.randint(3, (2, 50), generator=torch.Generator().manual_seed(0))
    moved = shifted(images, offsets, limit=1)
    assert torch.equal(moved[:, 0], moved[:, 1])
    clamped = [[max(0, min(2, i + d)) for i in range(3)] for d in (-1, 0, 1)]
    expected = {
        tuple(3 * row + column for row in rows for column in columns)
        for rows in clamped
        for columns in clamped
    }
    assert {tuple(picture[0].flatten().int().tolist()) for picture in moved} == expected


def test_parts_of_a_batch_have_the_shifts_of_the_full_batch():
    pixels = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 1, 3, 4)
    examples, rows = (
        ImageExamples(pixels, targets={"labels": torch.arange(5)[:, None]}, shift=1),
        torch.arange(5),
    )
    whole = examples.batch(rows, torch.Generator().manual_seed(1))
    for part in (slice(0, 2), slice(2, 5)):
        found = examples.batch(rows, torch.Generator().manual_seed(1), part=part)
        assert torch.equal(found["images"], whole["images"][part])
        assert torch.equal(found["labels"], whole["labels"][part])
