import pytest
import torch
from torch.testing import assert_close

from tests.tiny import NO_TEXT, captions, codes, lstm, no_captions, randomised


def test_text_sets_the_initial_state_of_every_layer():
    prior = randomised(lstm())
    first, second = prior.start(captions([2, 3])), prior.start(captions([4]))
    for one, other in zip(first.layers, second.layers, strict=True):
        assert (one.hidden != other.hidden).any()
        assert (one.cell != other.cell).any()


def test_without_text_the_initial_state_is_zero():
    for layer in lstm(text=NO_TEXT).start(no_captions(2)).layers:
        assert not layer.hidden.any()
        assert not layer.cell.any()


def test_recurrence_stays_in_float32_under_autocast():
    prior = randomised(lstm())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        state = prior.start(captions([2, 3]))
        prior.step(codes(1)[:, 0], state)
    assert {layer.cell.dtype for layer in state.layers} == {torch.float32}


@pytest.mark.parametrize("text", [{}, {"text": NO_TEXT}], ids=["captions", "no captions"])
@torch.inference_mode()
def test_steps_write_their_state_in_place(text):
    prior = randomised(lstm(**text)).eval()
    state = prior.start(no_captions(2) if text else captions([2, 3], [4]))
    before = [tensor.clone() for tensor in state.written()]
    addresses = [tensor.data_ptr() for tensor in state.written()]
    tokens = codes(2)[:, :3]
    expected = [prior.step(token, state) for token in tokens.T]
    assert [tensor.data_ptr() for tensor in state.written()] == addresses
    assert len(set(addresses)) == len(addresses)
    for tensor, value in zip(state.written(), before, strict=True):
        assert (tensor != value).any()
        tensor.copy_(value)
    for token, logits in zip(tokens.T, expected, strict=True):
        assert_close(prior.step(token, state), logits, rtol=0, atol=0)


def test_one_picture_can_be_stepped_with_gradients_on():
    prior = randomised(lstm()).eval()
    given = codes(1)
    state = prior.start(captions([2, 3]))
    begin = torch.full((1,), prior.begin)
    found = [prior.step(token, state) for token in (begin, given[:, 0])]
    expected = prior.logits(given[:, :2], captions([2, 3]))
    assert_close(torch.stack(found, dim=1), expected)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"prior.lstm.heads: .*got heads=3, width=8; change one"):
        lstm(heads=3)
