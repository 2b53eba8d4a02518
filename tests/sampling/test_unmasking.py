import itertools

import pytest
import torch

from tests.sampling.masked import num_masked
from vqpriors.sampling.base.logits import draw
from vqpriors.sampling.base.sampler import PictureRandom
from vqpriors.sampling.base.unmasking import UnmaskingSchedule, num_masked_after, unmask

MASK = 7
CELLS, CODES = 6, 7
TABLE = torch.randn(4, CELLS, CODES, generator=torch.Generator().manual_seed(0)) * 2
PREDICTED = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
)
RANKS = torch.tensor([3, 0, 5, 1, 4, 2])


class Table:
    """Fixed logits of every cell, and a record of the calls.

    Attributes:
        calls: Tokens and selected cells of each step.
    """

    def __init__(self, table=TABLE):
        self.table, self.calls = table, []

    def __call__(self, tokens, selected, step):
        assert step == len(self.calls)
        self.calls.append((tokens.clone(), selected.mask.clone()))
        return selected.take(self.table).split(3)


def picture_random(count=4, seed=0):
    return PictureRandom(range(count), seed=seed, device=torch.device("cpu"))


def schedule(steps, *, temperature=1.0, choice_temperature=0.0, remask=0.0, ranks=None):
    return UnmaskingSchedule([temperature] * steps, [choice_temperature] * steps, remask, ranks)


def decode(steps, *, table=None, mask=PREDICTED, seed=0, **changes):
    """Return the tokens before each step, and the final ones."""
    table = table or Table(TABLE[: len(mask)])
    tokens = torch.arange(CELLS).repeat(len(mask), 1)
    found = unmask(
        table,
        tokens,
        mask.bool(),
        mask_token=MASK,
        schedule=schedule(steps, **changes),
        random=picture_random(len(mask), seed),
    )
    return [seen for seen, _ in table.calls], found


ORDERS = [{}, {"choice_temperature": 4.5}, {"temperature": 0.0}, {"ranks": RANKS}]


@pytest.mark.parametrize("changes", ORDERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6])
def test_masked_tokens_after_each_step_follow_the_schedule(steps, changes):
    seen, final = decode(steps, **changes)
    num_predicted = PREDICTED.sum(1)
    expected = [num_predicted.tolist(), *num_masked_after(num_predicted, steps).tolist()]
    assert [num_masked(tokens, MASK) for tokens in (*seen, final)] == expected


@pytest.mark.parametrize("changes", ORDERS)
def test_steps_beyond_the_cells_compute_no_logits(changes):
    seen, final = decode(20, **changes)
    assert len(seen) == 6
    assert num_masked(final, MASK) == [0, 0, 0, 0]


@pytest.mark.parametrize("changes", ORDERS)
@pytest.mark.parametrize("remask", [0.3, 0.9])
def test_remasked_tokens_are_a_share_of_the_decoded_ones(remask, changes):
    steps = 5
    seen, final = decode(steps, remask=remask, **changes)
    left = num_masked_after(PREDICTED.sum(1), steps)
    remasked = ((PREDICTED.sum(1) - left) * remask).floor().long()
    assert [num_masked(tokens, MASK) for tokens in seen[1:]] == (left + remasked)[:-1].tolist()
    assert num_masked(final, MASK) == [0, 0, 0, 0]


def test_remasked_tokens_are_drawn_again():
    seen, _ = decode(5, remask=0.5)
    decoded_then_masked = [
        ((before != MASK) & (after == MASK)).any() for before, after in itertools.pairwise(seen)
    ]
    assert any(decoded_then_masked)


@pytest.mark.parametrize("changes", [*ORDERS, {"remask": 0.5}, {"remask": 0.5, "ranks": RANKS}])
def test_kept_cells_stay_and_are_never_selected(changes):
    table = Table()
    seen, final = decode(4, table=table, **changes)
    keep = ~PREDICTED.bool()
    for tokens in (*seen, final):
        assert torch.equal(tokens[keep], torch.arange(CELLS).repeat(4, 1)[keep])
    assert not any((selected & keep).any() for _, selected in table.calls)


def test_nothing_to_predict_computes_no_logits():
    seen, final = decode(3, mask=torch.zeros(4, CELLS))
    assert seen == []
    assert torch.equal(final, torch.arange(CELLS).repeat(4, 1))


def test_one_step_at_temperature_0_takes_the_likeliest_tokens():
    _, final = decode(1, temperature=0.0, mask=torch.ones(4, CELLS))
    assert torch.equal(final, TABLE.argmax(2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_one_step_draws_each_token_with_its_own_number(temperature):
    _, final = decode(1, temperature=temperature, mask=torch.ones(4, CELLS))
    uniform = picture_random().uniform(CELLS)
    expected = draw(TABLE.flatten(0, 1) / temperature, uniform.flatten()).view(4, CELLS)
    assert torch.equal(final, expected)


def test_most_confident_cells_come_first():
    probability = torch.tensor([0.5, 0.9, 0.6, 0.99, 0.7, 0.8])
    table = torch.stack([probability, 1 - probability], dim=1).log()[None]
    seen, final = decode(6, table=Table(table), temperature=0.0, mask=torch.ones(1, CELLS))
    masked = [(tokens[0] == MASK).nonzero()[:, 0].tolist() for tokens in (*seen, final)]
    assert masked == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 4, 5],
        [0, 2, 4, 5],
        [0, 2, 4],
        [0, 2],
        [0],
        [],
    ]


def test_confidence_is_that_of_the_drawn_token():
    drawn = draw(TABLE.flatten(0, 1) / 5, picture_random().uniform(CELLS).flatten()).view(4, CELLS)
    confidence = TABLE.log_softmax(2).gather(2, drawn[..., None])[..., 0]
    seen, _ = decode(6, temperature=5.0, mask=torch.ones(4, CELLS))
    is_drawn = seen[1] != MASK
    assert torch.equal(is_drawn.int().argmax(1), confidence.argmax(1))
    assert torch.equal(seen[1][is_drawn], drawn[is_drawn])
    assert (confidence.argmax(1) != TABLE.log_softmax(2).amax(2).argmax(1)).any()


def first_decoded(seed, choice_temperature):
    seen, _ = decode(
        6,
        temperature=0.0,
        choice_temperature=choice_temperature,
        seed=seed,
        mask=torch.ones(4, CELLS),
    )
    return (seen[1] != MASK).nonzero()[:, 1].tolist()


def test_order_is_random_only_with_gumbel_noise():
    most_confident = TABLE.log_softmax(2).amax(2).argmax(1).tolist()
    assert all(first_decoded(seed, 0.0) == most_confident for seed in range(5))
    chosen = torch.tensor([first_decoded(seed, 1e6) for seed in range(50)])
    assert all(column.unique().numel() == CELLS for column in chosen.T)


def test_equal_confidences_do_not_change_how_many_are_decoded():
    table = Table(torch.zeros(4, CELLS, CODES))
    seen, final = decode(3, table=table, temperature=0.0, mask=torch.ones(4, CELLS))
    found = [num_masked(tokens, MASK) for tokens in (*seen, final)]
    assert found == [[6] * 4, [5] * 4, [3] * 4, [0] * 4]


def test_fixed_order_decodes_by_rank():
    table = Table()
    seen, final = decode(3, table=table, ranks=RANKS, mask=torch.ones(4, CELLS))
    for tokens, count in zip((*seen, final), (0, 1, 3, 6), strict=True):
        assert ((tokens != MASK) == (count > RANKS)).all()
    expected = [(RANKS < 1), (RANKS >= 1) & (RANKS < 3), (RANKS >= 3)]
    for (_, selected), cells in zip(table.calls, expected, strict=True):
        assert (selected == cells).all()


def test_each_picture_may_have_its_own_order():
    ranks = torch.stack([RANKS, 5 - RANKS, RANKS, RANKS])
    seen, _ = decode(6, ranks=ranks, mask=torch.ones(4, CELLS))
    for number, tokens in enumerate(seen):
        assert torch.equal(tokens != MASK, ranks < number)


def test_fixed_order_skips_kept_cells():
    mask = ~torch.tensor([[0, 1, 0, 1, 0, 0]]).bool()
    seen, _ = decode(4, ranks=RANKS, mask=mask)
    order = [
        ((before == MASK) & (after != MASK)).nonzero()[0, 1].item()
        for before, after in itertools.pairwise(seen)
    ]
    assert order == [5, 0, 4]  # ranks 2, 3, 4; cell 2, of rank 5, is last


@pytest.mark.parametrize("changes", [*ORDERS, {"remask": 0.4}])
def test_a_picture_does_not_depend_on_the_rest_of_its_batch(changes):
    _, together = decode(4, **changes)
    for row in range(4):
        found = unmask(
            Table(TABLE[row : row + 1]),
            torch.arange(CELLS)[None],
            PREDICTED[row : row + 1].bool(),
            mask_token=MASK,
            schedule=schedule(4, **changes),
            random=PictureRandom(range(row, row + 1), seed=0, device=torch.device("cpu")),
        )
        assert torch.equal(found[0], together[row])


@pytest.mark.parametrize("changes", ORDERS)
@pytest.mark.parametrize("cell", [0, 2, 4])  # drawn in different steps
def test_logits_that_are_nan_are_refused(changes, cell):
    table = TABLE.clone()
    table[1, cell, 3] = float("nan")
    with pytest.raises(ValueError, match=r"^prior: its logits are not numbers"):
        decode(3, table=Table(table), **changes)


@pytest.mark.parametrize(
    ("num_masked", "steps", "expected"),
    [
        (6, 1, [0]),
        (7, 2, [4, 0]),  # 7 * 0.707 = 4.9
        (49, 2, [34, 0]),
        (6, 3, [5, 3, 0]),  # 6 * 0.866 = 5.2, 6 * 0.5
        (4, 4, [3, 2, 1, 0]),  # 3.7, 2.8, 1.5
        (10, 4, [9, 7, 3, 0]),
        (5, 5, [4, 3, 2, 1, 0]),  # 4.8, then 4.04 where one has to be decoded
        (3, 5, [2, 1, 0, 0, 0]),  # more steps than tokens
        (1, 3, [0, 0, 0]),
        (0, 3, [0, 0, 0]),
    ],
)
def test_mask_schedule_by_hand(num_masked, steps, expected):
    left = num_masked_after(torch.tensor([num_masked]), steps)
    assert left.dtype == torch.int64
    assert left[:, 0].tolist() == expected


def test_each_picture_has_its_own_mask_schedule():
    left = num_masked_after(torch.tensor([6, 0, 3]), 3)
    assert left.tolist() == [[5, 0, 2], [3, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 12, 49, 60])
def test_every_step_decodes_until_none_is_masked(steps):
    num_masked = torch.arange(50)
    left = torch.cat([num_masked[None], num_masked_after(num_masked, steps)])
    before, after = left[:-1], left[1:]
    assert ((after < before) | (before == 0)).all()
    assert (after >= 0).all()
    assert (left[-1] == 0).all()
