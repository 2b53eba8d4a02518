import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import (
    NO_TEXT,
    TEXT,
    captions,
    codes,
    lively,
    no_captions,
    prior_batch,
    transformer,
)
from vqpriors.priors import likelihood

VARIANTS = [
    {"positions": positions, "text": text}
    for positions in ("rope", "learned")
    for text in (TEXT, NO_TEXT)
]
CAPTIONS = ([2, 3], [], [4, 5, 6])


def texts(prior):
    return no_captions(3) if prior.text_tower is None else captions(*CAPTIONS)


def prior_of(variant, dtype=torch.float64):
    return lively(transformer(**variant)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_steps_match_full_forward(variant, dtype):
    prior, drawn = prior_of(variant, dtype), codes(3)
    full = prior.logits(drawn, texts(prior))
    state = prior.start(texts(prior))
    token = torch.full((3,), prior.begin)
    for position in range(prior.length):
        assert_close(prior.step(token, state), full[:, position])
        token = drawn[:, position]
    assert full.dtype == dtype


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_depend_on_the_codes_before_and_no_others(variant):
    prior, drawn = prior_of(variant), codes(3)
    full = prior.logits(drawn, texts(prior))
    for changed in range(6):
        other = drawn.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        is_equal = (prior.logits(other, texts(prior)) == full).all(2)
        expected = torch.arange(6) <= changed
        assert torch.equal(is_equal, expected.expand(3, 6))


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_text_matters_and_its_padding_does_not(positions):
    prior, drawn = prior_of({"positions": positions}), codes(3)
    text = captions(*CAPTIONS)
    full = prior.logits(drawn, text)
    others = prior.logits(drawn, captions([2, 4], [7], [4, 5, 8]))
    assert (full != others).any(2).all()
    junk = text._replace(tokens=text.tokens.masked_fill(~text.is_real, 8))
    assert_close(prior.logits(drawn, junk), full)


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_place_in_the_grid_matters(positions):
    prior = prior_of({"positions": positions, "text": NO_TEXT, "grid": (2, 2)})
    drawn = torch.tensor([[3, 4, 4, 1], [4, 3, 4, 1]])  # the same codes before the last
    logits = prior.logits(drawn, no_captions(2))
    assert not torch.allclose(logits[0, 3], logits[1, 3])


def test_without_text_there_is_no_text_side():
    prior = transformer(text=NO_TEXT)
    assert not any("text" in name or "cross" in name for name, _ in prior.named_parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_are_minus_the_log_probability_by_hand(variant):
    prior, drawn = prior_of(variant, torch.float32), codes(3)
    text = texts(prior)
    logits = prior.logits(drawn, text)
    by_hand = torch.zeros(3)
    for row in range(3):
        for position in range(6):
            scores = logits[row, position]
            by_hand[row] -= scores[drawn[row, position]] - scores.exp().sum().log()
    assert_close(prior.losses(prior_batch(prior, drawn, text)), {"nats_per_token": by_hand.mean() / 6})
    assert_close(prior.nats(drawn, text), by_hand)


def test_probabilities_of_all_pictures_sum_to_1():
    prior = prior_of({"grid": (1, 3), "codebook_size": 3})
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    nats = prior.nats(every, captions(*[[2, 3]] * 27))
    assert_close(nats.double().neg().exp().sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_likelihood_is_exact_and_does_not_depend_on_the_batch_size(batch_size):
    prior, drawn = prior_of({}, torch.float32), codes(5)
    rows = {"a": [2], "b": [3, 4], "": []}
    names = ["a", "b", "", "a", "b"]

    def encode(found):
        return captions(*(rows[name] for name in found))

    found = likelihood(
        prior,
        drawn.numpy().astype(np.uint16),
        names,
        encode=encode,
        batch_size=batch_size,
        num_samples=3,
        seed=0,
    )
    assert found.nats == pytest.approx(prior.nats(drawn, encode(names)).sum().item(), rel=1e-5)
    assert found.standard_error == 0.0


def test_nats_do_not_depend_on_noise():
    prior, drawn, text = prior_of({}), codes(3), captions(*CAPTIONS)
    assert torch.equal(prior.nats(drawn, text, torch.rand(3, 7)), prior.nats(drawn, text))


def test_fill_writes_hidden_codes_one_after_the_other_each_the_likeliest():
    prior, drawn, text = prior_of({}), codes(3), captions(*CAPTIONS)
    is_hidden = torch.tensor([False, True, False, True, True, False])
    expected = drawn.clone()
    for position in (1, 3, 4):
        expected[:, position] = prior.logits(expected, text)[:, position].argmax(1)
    found = prior.fill(drawn.masked_fill(is_hidden, 0), is_hidden, text)
    assert torch.equal(found, expected)


def test_untrained_prior_is_close_to_uniform():
    torch.manual_seed(0)
    prior = transformer().eval()
    nats = prior.nats(codes(3), captions(*CAPTIONS))
    assert_close(nats, torch.full((3,), 6 * np.log(7.0)).float(), rtol=0.05, atol=0)


@pytest.mark.parametrize(("heads", "width"), [(3, 8), (4, 8)])
def test_heads_that_do_not_fit_are_refused(heads, width):
    problem = rf"prior.transformer.heads: .*got heads={heads}, width={width}; change one"
    with pytest.raises(ValueError, match=problem):
        transformer(heads=heads, width=width)


def test_step_under_autocast_matches_full_forward():
    prior, drawn = prior_of({}, torch.float32), codes(3)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        full = prior.logits(drawn, captions(*CAPTIONS))
        state = prior.start(captions(*CAPTIONS))
        assert state.caches[0].keys.dtype == torch.bfloat16
        step = prior.step(torch.full((3,), prior.begin), state)
    assert_close(step, full[:, 0], rtol=0.05, atol=0.05)
