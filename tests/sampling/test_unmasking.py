import itertools

import pytest
import torch

from tests.sampling.masked import is_kept, num_masked
from vqpriors.sampling.base.logits import draw
from vqpriors.sampling.base.sampler import Noise
from vqpriors.sampling.base.schedules import left_after
from vqpriors.sampling.base.unmasking import Plan, unmask

MASK = 7
CELLS, CODES = 6, 7
TABLE = torch.randn(4, CELLS, CODES, generator=torch.Generator().manual_seed(0)) * 2
OPEN = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
)
RANKS = torch.tensor([3, 0, 5, 1, 4, 2])


class Table:
    """Logits of every cell that depend on nothing, and what was asked for.

    Attributes:
        passes: Tokens and wanted cells of each pass.
    """

    def __init__(self, table=TABLE):
        self.table, self.passes = table, []

    def __call__(self, tokens, is_wanted, step):
        assert step == len(self.passes)
        self.passes.append((tokens.clone(), is_wanted.clone()))
        return self.table[is_wanted]


def noise(count=4, seed=0):
    return Noise(range(count), seed=seed, device=torch.device("cpu"))


def plan(steps, *, temperature=1.0, choice_temperature=0.0, remask=0.0, ranks=None):
    return Plan([temperature] * steps, [choice_temperature] * steps, remask, ranks)


def decode(steps, *, table=None, is_open=OPEN, seed=0, **changes):
    """Return the tokens that each pass saw, and the final ones."""
    table = table or Table(TABLE[: len(is_open)])
    tokens = torch.arange(CELLS).repeat(len(is_open), 1)
    found = unmask(
        table,
        tokens,
        is_open.bool(),
        mask=MASK,
        plan=plan(steps, **changes),
        noise=noise(len(is_open), seed),
    )
    return [seen for seen, _ in table.passes], found


ORDERS = [{}, {"choice_temperature": 4.5}, {"temperature": 0.0}, {"ranks": RANKS}]


@pytest.mark.parametrize("changes", ORDERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6])
def test_masked_tokens_after_each_step_are_those_of_the_schedule(steps, changes):
    seen, final = decode(steps, **changes)
    num_open = OPEN.sum(1)
    expected = [num_open.tolist(), *left_after(num_open, steps).tolist()]
    assert [num_masked(tokens, MASK) for tokens in (*seen, final)] == expected


@pytest.mark.parametrize("changes", ORDERS)
def test_steps_beyond_the_cells_ask_for_nothing(changes):
    seen, final = decode(20, **changes)
    assert len(seen) == 6
    assert num_masked(final, MASK) == [0, 0, 0, 0]


@pytest.mark.parametrize("changes", ORDERS)
@pytest.mark.parametrize("remask", [0.3, 0.9])
def test_remasked_tokens_are_a_share_of_those_written(remask, changes):
    steps = 5
    seen, final = decode(steps, remask=remask, **changes)
    left = left_after(OPEN.sum(1), steps)
    again = ((OPEN.sum(1) - left) * remask).floor().long()
    assert [num_masked(tokens, MASK) for tokens in seen[1:]] == (left + again)[:-1].tolist()
    assert num_masked(final, MASK) == [0, 0, 0, 0]


def test_remasked_tokens_are_drawn_again():
    seen, _ = decode(5, remask=0.5)
    written_then_masked = [
        ((before != MASK) & (after == MASK)).any() for before, after in itertools.pairwise(seen)
    ]
    assert any(written_then_masked)


@pytest.mark.parametrize("changes", [*ORDERS, {"remask": 0.5}, {"remask": 0.5, "ranks": RANKS}])
def test_closed_cells_stay_and_are_never_asked_for(changes):
    table = Table()
    seen, final = decode(4, table=table, **changes)
    closed = ~OPEN.bool()
    for tokens in (*seen, final):
        assert torch.equal(tokens[closed], torch.arange(CELLS).repeat(4, 1)[closed])
    assert not any((wanted & closed).any() for _, wanted in table.passes)


def test_nothing_to_write_asks_for_nothing():
    seen, final = decode(3, is_open=torch.zeros(4, CELLS))
    assert seen == []
    assert torch.equal(final, torch.arange(CELLS).repeat(4, 1))


def test_one_step_without_temperature_takes_the_likeliest():
    _, final = decode(1, temperature=0.0, is_open=torch.ones(4, CELLS))
    assert torch.equal(final, TABLE.argmax(2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_one_step_draws_each_token_by_its_own_number(temperature):
    _, final = decode(1, temperature=temperature, is_open=torch.ones(4, CELLS))
    uniform = noise().uniform(CELLS)
    expected = draw(TABLE.flatten(0, 1) / temperature, uniform.flatten()).view(4, CELLS)
    assert torch.equal(final, expected)


def test_surest_cells_come_first():
    probability = torch.tensor([0.5, 0.9, 0.6, 0.99, 0.7, 0.8])
    table = torch.stack([probability, 1 - probability], dim=1).log()[None]
    seen, final = decode(6, table=Table(table), temperature=0.0, is_open=torch.ones(1, CELLS))
    masked = [(tokens[0] == MASK).nonzero()[:, 0].tolist() for tokens in (*seen, final)]
    assert masked == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5], [0, 2, 4, 5], [0, 2, 4], [0, 2], [0], []]


def test_confidence_is_that_of_the_token_drawn():
    drawn = draw(TABLE.flatten(0, 1) / 5, noise().uniform(CELLS).flatten()).view(4, CELLS)
    confidence = TABLE.log_softmax(2).gather(2, drawn[..., None])[..., 0]
    seen, _ = decode(6, temperature=5.0, is_open=torch.ones(4, CELLS))
    is_written = seen[1] != MASK
    assert torch.equal(is_written.int().argmax(1), confidence.argmax(1))
    assert torch.equal(seen[1][is_written], drawn[is_written])
    assert (confidence.argmax(1) != TABLE.log_softmax(2).amax(2).argmax(1)).any()


def first_written(seed, choice_temperature):
    seen, _ = decode(
        6,
        temperature=0.0,
        choice_temperature=choice_temperature,
        seed=seed,
        is_open=torch.ones(4, CELLS),
    )
    return (seen[1] != MASK).nonzero()[:, 1].tolist()


def test_order_is_a_matter_of_chance_with_noise_on_the_choice_alone():
    surest = TABLE.log_softmax(2).amax(2).argmax(1).tolist()
    assert all(first_written(seed, 0.0) == surest for seed in range(5))
    chosen = torch.tensor([first_written(seed, 1e6) for seed in range(50)])
    assert all(column.unique().numel() == CELLS for column in chosen.T)


def test_equal_confidences_do_not_change_how_many_are_written():
    table = Table(torch.zeros(4, CELLS, CODES))
    seen, final = decode(3, table=table, temperature=0.0, is_open=torch.ones(4, CELLS))
    found = [num_masked(tokens, MASK) for tokens in (*seen, final)]
    assert found == [[6] * 4, [5] * 4, [3] * 4, [0] * 4]


def test_fixed_order_writes_by_rank():
    table = Table()
    seen, final = decode(3, table=table, ranks=RANKS, is_open=torch.ones(4, CELLS))
    for tokens, count in zip((*seen, final), (0, 1, 3, 6), strict=True):
        assert ((tokens != MASK) == (count > RANKS)).all()
    wanted = [(RANKS < 1), (RANKS >= 1) & (RANKS < 3), (RANKS >= 3)]
    for (_, asked), cells in zip(table.passes, wanted, strict=True):
        assert (asked == cells).all()


def test_each_picture_may_have_its_own_order():
    ranks = torch.stack([RANKS, 5 - RANKS, RANKS, RANKS])
    seen, _ = decode(6, ranks=ranks, is_open=torch.ones(4, CELLS))
    for number, tokens in enumerate(seen):
        assert torch.equal(tokens != MASK, ranks < number)


def test_order_among_open_cells_skips_closed_ones():
    is_open = ~is_kept([0, 1, 0, 1, 0, 0])
    seen, _ = decode(4, ranks=RANKS, is_open=is_open)
    order = [
        ((before == MASK) & (after != MASK)).nonzero()[0, 1].item()
        for before, after in itertools.pairwise(seen)
    ]
    assert order == [5, 0, 4]  # ranks 2, 3, 4; cell 2, of rank 5, is last


@pytest.mark.parametrize("changes", [*ORDERS, {"remask": 0.4}])
def test_a_picture_does_not_depend_on_those_beside_it(changes):
    _, together = decode(4, **changes)
    for row in range(4):
        found = unmask(
            Table(TABLE[row : row + 1]),
            torch.arange(CELLS)[None],
            OPEN[row : row + 1].bool(),
            mask=MASK,
            plan=plan(4, **changes),
            noise=Noise(range(row, row + 1), seed=0, device=torch.device("cpu")),
        )
        assert torch.equal(found[0], together[row])


@pytest.mark.parametrize("changes", ORDERS)
def test_logits_that_are_nan_are_refused(changes):
    table = TABLE.clone()
    table[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match=r"^prior: its logits are not numbers"):
        decode(3, table=Table(table), **changes)
