import pytest
import torch
from torch import nn
from torch.testing import assert_close

from vqpriors.nn.blocks import Block, Head, SwiGLU, initialise
from vqpriors.nn.linear import ResidualLinear


def block(**changes):
    settings = {"width": 8, "heads": 2, "dropout": 0.0, "has_text": True}
    return Block(**settings | changes)


@pytest.mark.parametrize(("width", "hidden"), [(192, 512), (8, 32), (256, 704)])
def test_hidden_width_is_8_thirds_of_the_width_in_steps_of_32(width, hidden):
    assert SwiGLU(width=width, dropout=0.0).down.in_features == hidden


def test_gated_layer_by_hand():
    layer = SwiGLU(width=1, dropout=0.0)
    nn.init.zeros_(layer.gate_up.weight)
    layer.gate_up.weight.data[0] = 2.0  # one gate
    layer.gate_up.weight.data[32] = 3.0  # one value
    nn.init.ones_(layer.down.weight)
    x = torch.tensor([[0.5]])
    assert_close(layer(x), torch.sigmoid(torch.tensor([[1.0]])) * 1.0 * 1.5)


def test_zero_outputs_leave_the_residual_stream_unchanged():
    layer = block()
    for child in layer.modules():
        if isinstance(child, ResidualLinear):
            nn.init.zeros_(child.weight)
    x, text = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    context = (layer.cross_attention.keys_values(text), torch.ones(2, 4, dtype=torch.bool))
    assert torch.equal(layer(x, is_causal=True, context=context), x)


def test_block_without_text_has_no_cross_attention():
    assert block(has_text=False).cross_attention is None


def test_residual_outputs_are_scaled_down_by_depth():
    torch.manual_seed(0)
    network = nn.ModuleDict({"blocks": nn.ModuleList(block(width=128) for _ in range(2))})
    network["embedding"] = nn.Embedding(500, 128)
    network["head"] = Head(128, 500)
    initialise(network, depth=8)
    first = network["blocks"][0]
    small = 0.02 / 16**0.5
    for module, std in [
        (first.self_attention.out, small),
        (first.cross_attention.out, small),
        (first.feed_forward.down, small),
        (first.self_attention.qkv, 0.02),
        (first.feed_forward.gate_up, 0.02),
        (network["embedding"], 0.02),
        (network["head"], 0.02),
    ]:
        assert module.weight.std().item() == pytest.approx(std, rel=0.03)
