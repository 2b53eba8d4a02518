import torch
from torch.testing import assert_close

from tests.tiny import TEXT, captions, randomised
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.nn.text_tower import TextTower


def tower(shape=TEXT, depth=2):
    return randomised(TextTower(shape=shape, width=8, depth=depth, heads=2, dropout=0.0)).double()


def test_padded_tokens_change_nothing():
    module, text = tower(), captions([2, 3], [4])
    junk = text._replace(tokens=text.tokens.masked_fill(~text.text_mask, 8))
    mask = text.text_mask
    assert_close(module(junk)[mask], module(text)[mask])


def test_tokens_attend_to_each_other_in_both_directions():
    first, second = captions([2, 3]), captions([2, 4])
    changed = (tower()(first) != tower()(second)).any(2)
    assert changed[0, :3].all()


def test_order_of_tokens_matters():
    module = tower()
    assert not torch.allclose(module(captions([2, 3]))[0, 0], module(captions([3, 2]))[0, 0])


def test_features_replace_tokens():
    shape = TextShape(length=5, vocabulary=9, feature_width=3)
    text = captions([2, 3], [4])
    features = torch.randn(2, 5, 3, dtype=torch.float64)
    module = tower(shape)
    found = module(TextInput(text.tokens, text.text_mask, features))
    assert found.shape == (2, 5, 8)
    other_tokens = TextInput(text.tokens * 0, text.text_mask, features)
    assert torch.equal(module(other_tokens), found)
    assert not torch.allclose(module(TextInput(text.tokens, text.text_mask, -features)), found)
