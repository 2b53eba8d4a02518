"""Properties of every stepwise prior."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import (
    NO_TEXT,
    TEXT,
    captions,
    codes,
    lstm,
    no_captions,
    prior_batch,
    randomised,
    transformer,
)
from vqpriors.evaluation.likelihood import likelihood

PRIORS = {
    "rope": lambda **changes: transformer(positions="rope", **changes),
    "learned": lambda **changes: transformer(positions="learned", **changes),
    "lstm": lstm,
}
CAPTIONS = ([2, 3], [], [4, 5, 6])
every_prior = pytest.mark.parametrize("name", PRIORS)
every_text = pytest.mark.parametrize("text", [TEXT, NO_TEXT], ids=["with text", "without"])
every_grid = pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 6), (6, 1)])


def prior_of(name, dtype=torch.float64, **changes):
    return randomised(PRIORS[name](**changes)).to(dtype)


def texts(prior):
    return no_captions(3) if prior.text_tower is None else captions(*CAPTIONS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_grid
@every_text
@every_prior
def test_cached_steps_match_full_forward(name, text, grid, dtype):
    prior, drawn = prior_of(name, dtype, text=text, grid=grid), codes(3)
    full = prior.logits(drawn, texts(prior))
    for is_sampling in (False, True):  # sampling, without gradients, has faster steps
        with torch.inference_mode(is_sampling):
            state, token = prior.start(texts(prior)), torch.full((3,), prior.begin)
            for position in range(prior.length):
                assert_close(prior.step(token, state), full[:, position])
                token = drawn[:, position]
    assert full.dtype == dtype


@every_grid
@every_text
@every_prior
def test_logits_depend_on_the_codes_before_and_no_others(name, text, grid):
    prior, drawn = prior_of(name, text=text, grid=grid), codes(3)
    full = prior.logits(drawn, texts(prior))
    for changed in range(6):
        other = drawn.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        is_equal = (prior.logits(other, texts(prior)) == full).all(2)
        expected = torch.arange(6) <= changed
        assert torch.equal(is_equal, expected.expand(3, 6))


@every_prior
def test_text_matters_and_its_padding_does_not(name):
    prior, drawn = prior_of(name), codes(3)
    text = captions(*CAPTIONS)
    full = prior.logits(drawn, text)
    others = prior.logits(drawn, captions([2, 4], [7], [4, 5, 8]))
    assert (full != others).any(2).all()
    junk = text._replace(tokens=text.tokens.masked_fill(~text.text_mask, 8))
    assert_close(prior.logits(drawn, junk), full)


@every_prior
def test_position_in_the_grid_matters(name):
    prior = prior_of(name, text=NO_TEXT, grid=(2, 2))
    drawn = torch.tensor([[3, 4, 4, 1], [4, 3, 4, 1]])  # the same codes before the last
    logits = prior.logits(drawn, no_captions(2))
    assert not torch.allclose(logits[0, 3], logits[1, 3])


@every_prior
def test_prior_without_text_has_no_text_weights(name):
    prior = PRIORS[name](text=NO_TEXT)
    words = ("text", "cross", "initial_state")
    assert not any(word in found for found, _ in prior.named_parameters() for word in words)


@every_text
@every_prior
def test_losses_are_minus_the_log_probability_by_hand(name, text):
    prior, drawn = prior_of(name, torch.float32, text=text), codes(3)
    condition = texts(prior)
    logits = prior.logits(drawn, condition)
    by_hand = torch.zeros(3)
    for row in range(3):
        for position in range(6):
            scores = logits[row, position]
            by_hand[row] -= scores[drawn[row, position]] - scores.exp().sum().log()
    assert_close(
        prior.losses(prior_batch(prior, drawn, condition)), {"nats_per_token": by_hand.mean() / 6}
    )
    assert_close(prior.nats(drawn, condition), by_hand)


@every_prior
def test_probabilities_of_all_pictures_sum_to_1(name):
    prior = prior_of(name, grid=(2, 2), codebook_size=3)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    nats = prior.nats(every, captions(*[[2, 3]] * 81))
    assert_close(nats.double().neg().exp().sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@every_prior
def test_likelihood_is_exact_for_any_batch_size(name, batch_size):
    prior, drawn = prior_of(name, torch.float32), codes(5)
    rows = {"a": [2], "b": [3, 4], "": []}
    names = ["a", "b", "", "a", "b"]

    def encode(found):
        return captions(*(rows[row] for row in found))

    found = likelihood(
        prior,
        drawn.numpy().astype(np.uint16),
        names,
        encode=encode,
        batch_size=batch_size,
        num_samples=3,
        seed=0,
    )
    assert found.nats == pytest.approx(prior.nats(drawn, encode(names)).detach().numpy(), rel=1e-5)
    assert found.variance is None


@every_prior
def test_nats_do_not_depend_on_noise(name):
    prior, drawn, text = prior_of(name), codes(3), captions(*CAPTIONS)
    assert torch.equal(prior.nats(drawn, text, torch.rand(3, 7)), prior.nats(drawn, text))


@every_prior
def test_untrained_prior_is_close_to_uniform(name):
    torch.manual_seed(0)
    prior = PRIORS[name]().eval()
    nats = prior.nats(codes(3), captions(*CAPTIONS))
    assert_close(nats, torch.full((3,), 6 * np.log(7.0)).float(), rtol=0.05, atol=0)


@every_prior
def test_step_under_autocast_matches_full_forward(name):
    prior, drawn = prior_of(name, torch.float32), codes(3)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        full = prior.logits(drawn, captions(*CAPTIONS))
        state = prior.start(captions(*CAPTIONS))
        token = torch.full((3,), prior.begin)
        for position in range(prior.length):
            assert_close(prior.step(token, state), full[:, position], rtol=0.05, atol=0.1)
            token = drawn[:, position]


@every_text
@every_prior
def test_fill_replaces_masked_codes_by_the_likeliest_ones(name, text):
    prior, drawn = prior_of(name, text=text), codes(3)
    mask = torch.tensor([False, True, True, False, True, False])
    filled = prior.fill(drawn, mask, texts(prior))
    assert torch.equal(filled[:, ~mask], drawn[:, ~mask])
    likeliest = prior.logits(filled, texts(prior)).argmax(2)
    assert torch.equal(filled[:, mask], likeliest[:, mask])


@every_prior
def test_fill_with_an_empty_mask_changes_nothing(name):
    prior, drawn = prior_of(name), codes(3)
    assert torch.equal(prior.fill(drawn, torch.zeros(6).bool(), texts(prior)), drawn)


@every_prior
def test_fill_does_not_depend_on_masked_codes(name):
    prior, drawn = prior_of(name), codes(3)
    mask = torch.arange(6) >= 2
    blank = drawn.masked_fill(mask, 0)
    filled = prior.fill(drawn, mask, texts(prior))
    assert torch.equal(prior.fill(blank, mask, texts(prior)), filled)
