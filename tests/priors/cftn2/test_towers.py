import pytest
import torch
from torch.testing import assert_close

from tests.tiny import randomised
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.cftn2.towers import (
    GATE_LR_SCALE,
    Tower,
    cache_context,
    forward_joint,
    forward_with_context,
    init_bridge_outputs,
    make_bridges,
    mean_gates,
)

SIZES = {"width": 8, "heads": 2, "dropout": 0.0}


def tower_of(seed, *, length=4, depth=2):
    tower = Tower(num_tokens=5, length=length, depth=depth, **SIZES)
    return randomised(tower, seed).double()


def bridges_of(gate, *, count=2, seed=3):
    bridges = randomised(make_bridges(count, **SIZES), seed).double()
    for bridge in bridges:
        torch.nn.init.constant_(bridge.raw_gate, gate)
    return bridges


def vectors(length, *, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, 8, generator=generator, dtype=torch.float64)


def everywhere(x):
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_bridge_starts_closed():
    bridges = make_bridges(2, **SIZES)
    x, context = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    for bridge in bridges:
        assert not bridge.gate().any()
        assert torch.equal(bridge(x, bridge.keys_values(context, everywhere(context))), x)


@pytest.mark.parametrize("raw_gate", [-0.02, 0.01, 1.0])
def test_bridge_adds_attention_times_tanh_of_its_gate(raw_gate):
    (bridge,) = bridges_of(raw_gate, count=1)
    x, context = vectors(4), vectors(6, seed=1)
    attended = bridge.attention(
        bridge.norm(x),
        bridge.attention.keys_values(bridge.context_norm(context)),
        everywhere(context),
    )
    gate = torch.tensor(GATE_LR_SCALE * raw_gate, dtype=torch.float64).tanh()
    found = bridge(x, bridge.keys_values(context, everywhere(context)))
    assert_close(found, x + gate * attended)
    assert attended.abs().min() > 0


def test_bridge_does_not_attend_to_padding():
    (bridge,) = bridges_of(0.1, count=1)
    x, context = vectors(4), vectors(6, seed=1)
    padding_mask = torch.arange(6).expand(3, 6) < 4
    short = context[:, :4]
    assert_close(
        bridge(x, bridge.keys_values(context, padding_mask)),
        bridge(x, bridge.keys_values(short, everywhere(short))),
    )


def test_closed_gate_has_a_gradient():
    (bridge,) = make_bridges(1, **SIZES)
    x, context = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    bridge(x, bridge.keys_values(context, everywhere(context))).square().sum().backward()
    assert (bridge.raw_gate.grad != 0).all()


def test_bridge_outputs_start_at_unit_scale():
    torch.manual_seed(0)
    bridges = make_bridges(2, width=128, heads=2, dropout=0.0)
    init_bridge_outputs(bridges)
    for bridge in bridges:
        assert bridge.attention.out.weight.std().item() == pytest.approx(128**-0.5, rel=0.03)


def test_mean_gates_by_hand():
    bridges = bridges_of(0.1)
    bridges[1].raw_gate.data[:4] = -0.2
    first, second = (torch.tensor(GATE_LR_SCALE * raw).tanh().item() for raw in (0.1, 0.2))
    gates = {name: gate.item() for name, gate in mean_gates(bridges, "gate").items()}
    assert gates == pytest.approx({"gate_0": first, "gate_1": (first + second) / 2})


def without_bridges(tower, x):
    """Return the output of a tower's last block without cross-attention."""
    states = tower.hidden_states(x)
    assert torch.equal(states[0], x)
    return tower.run_block(len(states) - 1, states[-1])


def test_cached_context_equals_joint_forward_with_one_direction_closed():
    first, second = tower_of(1), tower_of(2, length=6)
    to_first, to_second = bridges_of(0.1), bridges_of(0.0, seed=4)
    x, y = vectors(4), vectors(6, seed=1)
    both = forward_joint((first, second), (x, y), (to_first, to_second))
    contexts = cache_context(to_first, second.hidden_states(y), everywhere(y))
    assert_close(forward_with_context(first, x, to_first, contexts), both[0])
    assert torch.equal(without_bridges(second, y), both[1])


def test_joint_forward_with_closed_gates_equals_separate_towers():
    first, second = tower_of(1), tower_of(2, length=6)
    x, y = vectors(4), vectors(6, seed=1)
    both = forward_joint((first, second), (x, y), (bridges_of(0.0), bridges_of(0.0)))
    assert torch.equal(both[0], without_bridges(first, x))
    assert torch.equal(both[1], without_bridges(second, y))


def test_joint_forward_does_not_depend_on_padding():
    first, second = tower_of(1), tower_of(2, length=6)
    bridges = bridges_of(0.1), bridges_of(0.2, seed=4)
    x, y = vectors(4), vectors(6, seed=1)
    padding_mask = torch.arange(6).expand(3, 6) < 4
    found = forward_joint((first, second), (x, y), bridges, (None, padding_mask))
    short = forward_joint((first, second), (x, y[:, :4]), bridges)
    assert_close(found[0], short[0])
    assert_close(found[1][:, :4], short[1])


def test_joint_forward_attends_to_the_same_layer_of_the_other_tower():
    first, second = tower_of(1, depth=1), tower_of(2, length=6, depth=1)
    to_first, to_second = bridges_of(0.1, count=1), bridges_of(0.2, count=1, seed=4)
    x, y = vectors(4), vectors(6, seed=1)
    both = forward_joint((first, second), (x, y), (to_first, to_second))
    attended = to_first[0](x, to_first[0].keys_values(y, everywhere(y)))
    assert_close(both[0], first.run_block(0, attended))
    attended = to_second[0](y, to_second[0].keys_values(x, everywhere(x)))
    assert_close(both[1], second.run_block(0, attended))


def test_tower_without_rope_has_learned_positions():
    tower = tower_of(1)
    states = tower.hidden_states(tower.embed(torch.tensor([[1, 2, 2, 3]])))
    assert len(states) == 2
    assert not torch.allclose(states[-1][0, 1], states[-1][0, 2])


def test_extra_is_added_to_every_token():
    tower, tokens = tower_of(1), torch.tensor([[1, 2, 5, 3]])  # 5 is the mask token
    extra = vectors(1, batch=1)
    assert tower.mask_token == 5
    assert_close(tower.embed(tokens, extra), tower.embed(tokens) + extra)


def test_hidden_states_do_not_depend_on_padding():
    tower = tower_of(1)
    padding_mask = torch.tensor([[True, True, True, False]])
    first, second = (
        tower.hidden_states(tower.embed(torch.tensor([[1, 2, 0, last]])), padding_mask)
        for last in (3, 4)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[:, :3], other[:, :3])


def test_predicted_rows_are_those_of_all_positions():
    tower, x = tower_of(1), vectors(4)
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    everything = tower.predict(x, Cells.of(everywhere(x))).view(3, 4, 5)
    assert_close(tower.predict(x, Cells.of(mask)), everything[mask])
