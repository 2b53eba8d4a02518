import math

import pytest
import torch
from torch.testing import assert_close

from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masking import (
    box_keys,
    likelihood_bound,
    lowest_k_mask,
    mask_counts,
    mask_ratio,
    masked_cross_entropy,
)

SCHEDULES = ("cosine", "arccos", "uniform")


@pytest.mark.parametrize(
    ("schedule", "half", "fifth"),
    [
        ("cosine", math.sqrt(0.5), math.cos(math.pi / 10)),
        ("arccos", 2 / 3, 0.871811177),  # acos(0.2) = 1.369438406
        ("uniform", 0.5, 0.8),
    ],
)
def test_mask_ratio_by_hand(schedule, half, fifth):
    found = mask_ratio(torch.tensor([0.0, 0.5, 0.2, 1.0]), schedule)
    assert_close(found, torch.tensor([1.0, half, fifth, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mask_ratio_falls_within_0_and_1(schedule):
    ratio = mask_ratio(torch.linspace(0, 1, 101), schedule)
    assert (ratio.diff() < 0).all()
    assert ratio.min() > -1e-6
    assert ratio.max() <= 1


def test_mask_counts_by_hand():
    ratio = torch.tensor([-4e-8, 0.0, 0.01, 0.25, 0.26, 0.5, 0.99, 1.0])
    assert mask_counts(ratio, 4).tolist() == [1, 1, 1, 1, 2, 2, 4, 4]
    assert mask_counts(ratio, 1).tolist() == [1] * 8
    assert mask_counts(ratio, 4).dtype == torch.int64


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_draws_at_the_ends_mask_all_and_one(schedule):
    counts = mask_counts(mask_ratio(torch.tensor([0.0, 1.0]), schedule), 9)
    assert counts.tolist() == [9, 1]


def test_lowest_marks_by_hand():
    keys = torch.tensor([[0.3, 0.1, 0.2]] * 4)
    marked = lowest_k_mask(keys, torch.arange(4))
    assert marked.int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]]


def test_ties_never_change_how_many_are_marked():
    keys = torch.tensor([[1.0] * 5, [0.0, 1.0, 1.0, 1.0, 2.0]])
    for count in range(6):
        assert lowest_k_mask(keys, torch.full((2,), count)).sum(1).tolist() == [count] * 2


def boxes(grid, count=200):
    generator = torch.Generator().manual_seed(0)
    keys = box_keys(torch.rand(count, 3, generator=generator), grid)
    counts = torch.randint(1, grid[0] * grid[1] + 1, (count,), generator=generator)
    return lowest_k_mask(keys, counts).view(count, *grid), counts


def sides_of(mask):
    """Return height and width of the box around a mask."""
    places = mask.nonzero()
    return (places.max(0).values - places.min(0).values + 1).tolist()


GRIDS = [(4, 4), (3, 7), (8, 5), (1, 6)]


@pytest.mark.parametrize("grid", GRIDS)
def test_mask_lacks_less_than_one_side_of_its_bounding_box(grid):
    masks, counts = boxes(grid)
    assert torch.equal(masks.flatten(1).sum(1), counts)
    for mask, count in zip(masks, counts.tolist(), strict=True):
        height, width = sides_of(mask)
        assert height * width - count < max(height, width)


@pytest.mark.parametrize("grid", GRIDS)
def test_cells_of_a_box_are_connected(grid):
    for mask in boxes(grid)[0]:
        reached = torch.zeros_like(mask)
        reached[tuple(mask.nonzero()[0])] = True
        for _ in range(mask.numel()):
            grown = reached.clone()
            grown[1:] |= reached[:-1]
            grown[:-1] |= reached[1:]
            grown[:, 1:] |= reached[:, :-1]
            grown[:, :-1] |= reached[:, 1:]
            reached = grown & mask
        assert torch.equal(reached, mask)


def test_box_is_between_twice_as_wide_and_twice_as_high():
    draws = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 1.0]])
    keys = box_keys(draws, (32, 32))
    masks = lowest_k_mask(keys, torch.tensor([128, 144, 128])).view(3, 32, 32)
    assert [sides_of(mask) for mask in masks] == [[8, 16], [12, 12], [16, 8]]


def test_box_lies_where_it_is_drawn():
    keys = box_keys(torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.4, 0.5]]), (2, 3))
    assert keys.argmin(1).tolist() == [2, 4]


LOGITS = torch.tensor([[1.0, 3.0, 4.0], [2.0, 1.0, 1.0]]).log()  # of 8 and of 4 parts


def test_masked_cross_entropy_by_hand():
    loss, accuracy = masked_cross_entropy(LOGITS, torch.tensor([1, 0]), smoothing=0.0)
    assert loss.item() == pytest.approx(-(math.log(3 / 8) + math.log(1 / 2)) / 2)
    assert accuracy.item() == 0.5


def test_masked_cross_entropy_with_smoothing_by_hand():
    loss, _ = masked_cross_entropy(LOGITS[:1], torch.tensor([1]), smoothing=0.3)
    by_hand = 0.7 * math.log(3 / 8) + 0.1 * sum(math.log(part / 8) for part in (1, 3, 4))
    assert loss.item() == pytest.approx(-by_hand)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_targets_give_0_and_gradients_of_0(smoothing):
    weight = torch.ones(3, requires_grad=True)
    loss, accuracy = masked_cross_entropy(
        weight * torch.zeros(0, 3), torch.zeros(0).long(), smoothing=smoothing
    )
    loss.backward()
    assert (loss.item(), accuracy.item()) == (0.0, 0.0)
    assert weight.grad.tolist() == [0.0] * 3


def test_accuracy_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss, accuracy = masked_cross_entropy(logits, torch.tensor([1, 0]), smoothing=0.0)
    assert loss.requires_grad
    assert not accuracy.requires_grad


def test_likelihood_bound_by_hand():
    codes = torch.tensor([[2, 0, 1], [1, 2, 0]])
    mask = torch.tensor([[True, False, False], [True, False, True]])
    logits = torch.tensor([[1.0, 1.0, 2.0], [1.0, 1.0, 8.0], [3.0, 1.0, 1.0]]).log()
    # One of three codes, of probability 2/4; two of three, of 1/10 and 3/5.
    expected = [3 * math.log(2), 1.5 * (math.log(10) + math.log(5 / 3))]
    assert_close(likelihood_bound(logits, codes, Cells.of(mask)), torch.tensor(expected))
