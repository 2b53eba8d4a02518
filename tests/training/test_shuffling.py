import torch

from vqpriors.core.seeds import derived_seed
from vqpriors.training.shuffling import epoch_order, seed_step


def test_order_is_a_permutation():
    assert epoch_order(100, seed=3, epoch=2).sort().values.tolist() == list(range(100))


def test_order_is_a_function_of_seed_and_epoch():
    order = epoch_order(50, seed=3, epoch=2)
    torch.rand(7)
    assert torch.equal(epoch_order(50, seed=3, epoch=2), order)
    assert not torch.equal(epoch_order(50, seed=4, epoch=2), order)
    assert not torch.equal(epoch_order(50, seed=3, epoch=3), order)


def draws(**position):
    generator = seed_step(**position)
    return torch.rand(4).tolist(), torch.rand(4, generator=generator).tolist()


def test_random_state_is_a_function_of_seed_step_and_rank():
    position = {"seed": 1, "step": 2, "rank": 0}
    first = draws(**position)
    assert draws(**position) == first
    assert first[0] != first[1]
    for change in ({"seed": 2}, {"step": 3}):
        other = draws(**position | change)
        assert other[0] != first[0]
        assert other[1] != first[1]


def test_processes_differ_in_dropout_but_not_in_the_batch():
    first, second = (draws(seed=1, step=2, rank=rank) for rank in (0, 1))
    assert first[0] != second[0]
    assert first[1] == second[1]


def test_derived_seed_is_the_same_on_every_machine():
    assert derived_seed(0, "order", 1) == 2961819992523135983
    assert derived_seed(0, "order", 1) != derived_seed(0, "order", 11)
