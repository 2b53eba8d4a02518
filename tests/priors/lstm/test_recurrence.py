import torch
from torch.testing import assert_close

from tests.tiny import randomised
from vqpriors.priors.lstm.recurrence import RecurrentLayer


def layer_of(offsets):
    """Return a layer whose feed-forward part adds nothing."""
    layer = randomised(
        RecurrentLayer(width=2, heads=1, offsets=offsets, dropout=0.0, has_text=False)
    )
    layer.feed_forward.down.weight.data.zero_()
    return layer


def test_step_is_the_lstm_of_the_paper_by_hand():
    layer = layer_of([]).double()
    state = layer.start(None, batch=1, length=1)
    x = torch.tensor([[[3.0, -4.0]]], dtype=torch.float64)
    out = layer.step(x, None, state, torch.tensor([0]))
    unit = x[0, 0] / 12.5**0.5  # root mean square of 3 and -4
    gates = layer.lstm.weight_ih_l0 @ unit + layer.lstm.bias_ih_l0 + layer.lstm.bias_hh_l0
    i, _, g, o = gates.view(4, 2)  # input, forget, cell and output gate
    cell = i.sigmoid() * g.tanh()
    assert_close(state.cell[0], cell)
    assert_close(out[0, 0], x[0, 0] + o.sigmoid() * cell.tanh())


def test_layer_depends_on_inputs_above_and_above_right():
    layer = layer_of([3, 2]).double()
    with torch.no_grad():
        layer.lstm.weight_hh_l0.zero_()  # no recurrence: outputs depend on current inputs only
        layer.lstm.bias_ih_l0[2:4] = -100.0
    x = torch.randn(1, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = layer(x, None)
    for changed in range(8):
        other = x.clone()
        other[0, changed] = other[0, changed].flip(0)
        differs = ((layer(other, None) - out).abs() > 1e-9).any(2)[0]
        expected = {changed, changed + 2, changed + 3} & set(range(8))
        assert set(differs.nonzero()[:, 0].tolist()) == expected
