import pytest
import torch
from torch.testing import assert_close

from tests.tiny import lively
from vqpriors.priors.cftn2.towers import PACE, Tower, bridges, converse, listen, sides

SIZES = {"width": 8, "heads": 2, "dropout": 0.0}


def tower(seed, *, length=4, depth=2):
    made = Tower(num_tokens=5, length=length, depth=depth, **SIZES)
    return lively(made, seed).double()


def bridges_of(gate, *, count=2, seed=3):
    made = lively(bridges(count, **SIZES), seed).double()
    for bridge in made:
        torch.nn.init.constant_(bridge.gate, gate)
    return made


def vectors(length, *, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, 8, generator=generator, dtype=torch.float64)


def everywhere(x):
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_bridge_starts_closed():
    made = bridges(2, **SIZES)
    x, spoken = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    for bridge in made:
        assert not bridge.openness.any()
        assert torch.equal(bridge(x, bridge.side(spoken, everywhere(spoken))), x)


@pytest.mark.parametrize("gate", [-0.02, 0.01, 1.0])
def test_bridge_adds_tanh_of_its_gate_times_what_it_hears(gate):
    (bridge,) = bridges_of(gate, count=1)
    x, spoken = vectors(4), vectors(6, seed=1)
    heard = bridge.attention(
        bridge.norm(x),
        bridge.attention.keys_values(bridge.speaker_norm(spoken)),
        everywhere(spoken),
    )
    expected = x + torch.tanh(torch.tensor(PACE * gate, dtype=torch.float64)) * heard
    assert_close(bridge(x, bridge.side(spoken, everywhere(spoken))), expected)
    assert heard.abs().min() > 0


def test_bridge_does_not_hear_what_is_not_visible():
    (bridge,) = bridges_of(0.1, count=1)
    x, spoken = vectors(4), vectors(6, seed=1)
    is_visible = torch.arange(6).expand(3, 6) < 4
    assert_close(
        bridge(x, bridge.side(spoken, is_visible)),
        bridge(x, bridge.side(spoken[:, :4], everywhere(spoken[:, :4]))),
    )


def test_closed_gate_learns_although_nothing_passes():
    made = bridges(1, **SIZES)
    x, spoken = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    made[0](x, made[0].side(spoken, everywhere(spoken))).square().sum().backward()
    assert (made[0].gate.grad != 0).all()


def end(made, x):
    """Return what the last block of a tower gives that hears nothing."""
    states = made.alone(x)
    assert torch.equal(states[0], x)
    return made.step(len(states) - 1, states[-1])


def test_listening_equals_conversing_with_one_who_does_not_listen():
    first, second = tower(1), tower(2, length=6)
    to_first, to_second = bridges_of(0.1), bridges_of(0.0, seed=4)
    x, y = vectors(4), vectors(6, seed=1)
    both = converse((first, second), (x, y), (to_first, to_second))
    states = second.alone(y)
    heard = listen(first, x, to_first, sides(to_first, states, everywhere(y)))
    assert_close(heard, both[0])
    assert torch.equal(end(second, y), both[1])


def test_conversing_through_closed_gates_equals_two_towers_alone():
    first, second = tower(1), tower(2, length=6)
    x, y = vectors(4), vectors(6, seed=1)
    both = converse((first, second), (x, y), (bridges_of(0.0), bridges_of(0.0)))
    assert torch.equal(both[0], end(first, x))
    assert torch.equal(both[1], end(second, y))


def test_conversing_towers_hear_the_same_layer_of_each_other():
    first, second = tower(1, depth=1), tower(2, length=6, depth=1)
    to_first, to_second = bridges_of(0.1, count=1), bridges_of(0.2, count=1, seed=4)
    x, y = vectors(4), vectors(6, seed=1)
    both = converse((first, second), (x, y), (to_first, to_second))
    heard = to_first[0](x, to_first[0].side(y, everywhere(y)))
    assert_close(both[0], first.step(0, heard))
    heard = to_second[0](y, to_second[0].side(x, everywhere(x)))
    assert_close(both[1], second.step(0, heard))


def test_tower_without_angles_learns_positions():
    made = tower(1)
    states = made.alone(made.embed(torch.tensor([[1, 2, 2, 3]])))
    assert len(states) == 2
    assert not torch.allclose(states[-1][0, 1], states[-1][0, 2])


def test_extra_is_added_to_every_token():
    made, tokens = tower(1), torch.tensor([[1, 2, 5, 3]])  # 5 stands for a masked one
    extra = vectors(1, batch=1)
    assert made.mask == 5
    assert_close(made.embed(tokens, extra), made.embed(tokens) + extra)


def test_tower_alone_does_not_look_at_what_is_not_visible():
    made = tower(1)
    is_visible = torch.tensor([[True, True, True, False]])
    first, second = (made.embed(torch.tensor([[1, 2, 0, last]])) for last in (3, 4))
    for one, other in zip(
        made.alone(first, is_visible), made.alone(second, is_visible), strict=True
    ):
        assert torch.equal(one[:, :3], other[:, :3])


def test_predicted_rows_are_those_of_all_positions():
    made, x = tower(1), vectors(4)
    is_wanted = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    everything = made.predict(x, everywhere(x)).view(3, 4, 5)
    assert_close(made.predict(x, is_wanted), everything[is_wanted])
