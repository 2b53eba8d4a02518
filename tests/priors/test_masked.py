"""Properties of every masked prior."""

import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import (
    TEXT,
    captions,
    cftn,
    cftn2,
    codes,
    no_captions,
    prior_batch,
    randomised,
    transformer,
)
from vqpriors.data.text_inputs import TextShape
from vqpriors.evaluation.likelihood import likelihood
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masking import lowest_k_mask
from vqpriors.priors.base.prior import text_of

KINDS = {"cftn": cftn, "cftn2": cftn2, "cftn2_two_way": partial(cftn2, two_way=True)}
CAPTIONS = ([2, 3], [], [4, 5, 6])
MASK = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0], [1] * 6]).bool()

of_kinds = pytest.mark.parametrize("kind", KINDS)
of_positions = pytest.mark.parametrize("positions", ["rope", "learned"])


def prior_of(kind, **changes):
    """Make a prior with large weights; for cftn2, with open gates and only the main task."""
    prior = randomised(KINDS[kind](**changes)).double()
    if kind != "cftn":
        prior.begin_phase(caption_share=0.0, joint_share=0.0, latent_share=0.0)
        for bridge in (*prior.to_image, *prior.to_text):
            torch.nn.init.constant_(bridge.raw_gate, 0.1)
    return prior


def logits_of(prior, drawn, text, mask=MASK, predicted=None):
    """Return logits of the predicted cells, by default all masked ones."""
    tokens = drawn.masked_fill(mask, prior.mask_token)
    return prior.logits(
        tokens, prior.start(text), Cells.of(mask if predicted is None else predicted)
    )


def draws_of(prior, kind, *, ratio, keys):
    """Return draws that mask a ratio of the codes, those with the lowest keys."""
    draws = torch.full((len(keys), prior.num_draws), 0.5)
    draws[:, 0] = 1 - ratio  # of the uniform schedule
    at = 5 if kind == "cftn" else 4 + prior.latent_width
    draws[:, at : at + prior.length] = keys
    return draws


KEYS = torch.tensor([[0.5, 0.1, 0.9, 0.3, 0.2, 0.7]]).repeat(3, 1)
RATIO = torch.tensor([0.0, 0.5, 0.6])  # of 6 codes: 1, 3 and 4
MASKED = torch.tensor([[0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 0]]).bool()


def nats_by_hand(logits, targets):
    """Return the cross-entropy at each target."""
    pairs = zip(logits.tolist(), targets.tolist(), strict=True)
    return [
        math.log(sum(math.exp(score) for score in scores)) - scores[target]
        for scores, target in pairs
    ]


@of_kinds
@of_positions
def test_masked_codes_are_replaced_by_the_mask_token_and_no_others(kind, positions):
    prior, drawn, text = prior_of(kind, positions=positions), codes(3), captions(*CAPTIONS)
    seen, logits = [], prior.logits

    def spy(tokens, state, cells):
        seen.append((tokens, cells.mask))
        return logits(tokens, state, cells)

    prior.logits = spy
    prior.losses(prior_batch(prior, drawn, text))
    prior.nats(drawn, text, torch.rand(3, 7, generator=torch.Generator().manual_seed(0)))
    prior.fill(drawn, MASK[0], text)
    assert len(seen) == 3
    for tokens, mask in seen:
        assert torch.equal(tokens == prior.mask_token, mask)
        assert torch.equal(tokens[~mask], drawn[~mask])


@of_kinds
@of_positions
def test_every_cell_depends_on_every_unmasked_cell(kind, positions):
    prior, drawn = prior_of(kind, positions=positions), codes(3)
    everywhere, text = torch.ones(3, 6).bool(), captions(*CAPTIONS)
    full = logits_of(prior, drawn, text, predicted=everywhere).view(3, 6, 7)
    for changed in range(6):
        other = drawn.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        found = logits_of(prior, other, text, predicted=everywhere).view(3, 6, 7)
        is_same = (found == full).all(2)
        assert torch.equal(is_same, MASK[:, changed : changed + 1].expand(3, 6))


@of_kinds
@of_positions
def test_logits_of_predicted_cells_are_rows_of_those_of_all_cells(kind, positions):
    prior, drawn, text = prior_of(kind, positions=positions), codes(3), captions(*CAPTIONS)
    full = logits_of(prior, drawn, text, predicted=torch.ones(3, 6).bool()).view(3, 6, 7)
    for seed in range(3):
        predicted = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.5
        assert_close(logits_of(prior, drawn, text, predicted=predicted), full[predicted])


@of_kinds
@of_positions
def test_text_matters_and_its_padding_does_not(kind, positions):
    prior, drawn, text = prior_of(kind, positions=positions), codes(3), captions(*CAPTIONS)
    full = logits_of(prior, drawn, text)
    assert (full != logits_of(prior, drawn, captions([2, 4], [7], [4, 5, 8]))).any(1).all()
    junk = text._replace(tokens=text.tokens.masked_fill(~text.text_mask, 8))
    assert_close(logits_of(prior, drawn, junk), full)


@of_kinds
def test_features_of_the_text_matter(kind):
    prior, drawn = prior_of(kind, text=TEXT._replace(feature_width=4)), codes(3)
    features = torch.randn(3, 5, 4, dtype=torch.float64)
    text = captions(*CAPTIONS)._replace(features=features)
    other = text._replace(features=-features)
    assert (logits_of(prior, drawn, text) != logits_of(prior, drawn, other)).any(1).all()


@of_kinds
@of_positions
@pytest.mark.parametrize("codes_after", [[3, 4, 7, 1], [7, 3, 4, 1], [4, 7, 3, 1]])
def test_position_in_the_grid_matters(kind, positions, codes_after):
    prior = prior_of(kind, positions=positions, grid=(2, 2))
    tokens = torch.tensor([[4, 3, 7, 1], codes_after])  # the same codes elsewhere
    mask = torch.tensor([False, False, False, True]).expand(2, 4)
    first, second = prior.logits(tokens, prior.start(captions([2], [2])), Cells.of(mask))
    assert not torch.allclose(first, second)


def test_prior_without_text_has_no_text_weights():
    prior = cftn(text=TextShape(0, 0, 0))
    assert not any("text" in name or "cross" in name for name, _ in prior.named_parameters())
    drawn = codes(3)
    assert prior.losses(prior_batch(prior, drawn, no_captions(3)))["masked_nats"].isfinite()


@of_kinds
def test_losses_are_minus_the_log_probability_by_hand(kind):
    prior, drawn, text = prior_of(kind), codes(3), captions(*CAPTIONS)
    batch = prior_batch(prior, drawn, text, draws=draws_of(prior, kind, ratio=RATIO, keys=KEYS))
    logits = logits_of(prior, drawn, text, MASKED)
    assert len(logits) == 1 + 3 + 4
    by_hand = sum(nats_by_hand(logits, drawn[MASKED])) / 8
    found = prior.losses(batch)
    assert found.keys() == {"masked_nats"}
    assert found["masked_nats"].item() == pytest.approx(by_hand, rel=1e-6)
    is_right = logits.argmax(1) == drawn[MASKED]
    assert prior.measured["visual_accuracy"].item() == is_right.sum().item() / 8


def test_boxes_are_masked_with_their_probability():
    prior = randomised(cftn(box_mask_prob=0.4, grid=(4, 4)))
    draws = torch.rand(3, prior.num_draws, generator=torch.Generator().manual_seed(0))
    draws[:, 0] = 0.75  # of 16 codes: 4
    draws[:, 1] = torch.tensor([0.39, 0.41, 0.0])
    draws[:, 2:5] = torch.tensor([0.25, 0.75, 0.5])  # row, column and aspect of a square
    batch = prior_batch(prior, codes(3, length=16), captions(*CAPTIONS), draws=draws)
    found = prior._masked_cells(batch).mask.view(3, 4, 4)
    corner = torch.zeros(4, 4).bool()
    corner[:2, 2:] = True
    assert torch.equal(found[0], corner)
    assert torch.equal(found[2], corner)
    assert torch.equal(found[1], lowest_k_mask(draws[1:2, 5:], torch.tensor([4])).view(4, 4))


@of_kinds
def test_validation_losses_are_the_same_in_two_calls(kind):
    prior = KINDS[kind](dropout=0.5).eval()
    batch = prior_batch(prior, codes(4), captions(*CAPTIONS, []))
    first, second = prior.losses(batch), prior.losses(batch)
    assert first == second


@of_kinds
def test_labels_are_smoothed_in_training_only(kind):
    plain, smooth = (prior_of(kind, label_smoothing=share) for share in (0.0, 0.1))
    drawn, text = codes(3), captions(*CAPTIONS)
    batch = prior_batch(plain, drawn, text, draws=draws_of(plain, kind, ratio=RATIO, keys=KEYS))
    assert smooth.losses(batch) == plain.losses(batch)
    found = smooth.train().losses(batch)["masked_nats"].item()
    scores = logits_of(plain, drawn, text, MASKED).log_softmax(1)
    spread = -scores.mean().item()
    by_hand = 0.9 * plain.losses(batch)["masked_nats"].item() + 0.1 * spread
    assert found == pytest.approx(by_hand, rel=1e-5)


SMALL = {"grid": (1, 3), "codebook_size": 3}
EVERY = torch.cartesian_prod(*[torch.arange(3)] * 3)  # all 27 pictures
ORDERS = list(permutations(range(3)))


def texts(count):
    return captions(*[[2, 3]] * count)


def nats_by_code(prior, order):
    """Return the negative log-likelihoods of codes decoded one by one, (27, 3) nats."""
    mask, found = torch.ones(27, 3).bool(), []
    for place in order:
        predicted = torch.zeros(27, 3).bool()
        predicted[:, place] = True
        scores = logits_of(prior, EVERY, texts(27), mask, predicted).log_softmax(1)
        found.append(-scores.gather(1, EVERY[:, place : place + 1])[:, 0])
        mask[:, place] = False
    return torch.stack(found, dim=1)


def noise_of(count, mask, batch):
    """Return noise that masks `count` given cells."""
    keys = [0.1 + 0.1 * place if place in mask else 0.6 + 0.1 * place for place in range(3)]
    return torch.tensor([[(count - 0.5) / 3, *keys]]).repeat(batch, 1)


def enumerated_bound(prior):
    """Return the mean of `nats` over all masks, (27,)."""
    total = torch.zeros(27, dtype=torch.float64)
    for count in (1, 2, 3):
        masks = {frozenset(order[:count]) for order in ORDERS}
        for mask in masks:
            noise = noise_of(count, mask, 27)
            total += prior.nats(EVERY, texts(27), noise).double() / len(masks) / 3
    return total


@of_kinds
def test_mean_of_nats_over_all_masks_is_the_mean_over_orders(kind):
    prior = prior_of(kind, **SMALL)
    by_order = torch.stack([nats_by_code(prior, order).sum(1) for order in ORDERS])
    assert_close(enumerated_bound(prior), by_order.mean(0), rtol=1e-5, atol=0)


@of_kinds
def test_bound_is_at_least_the_nats_of_decoding_in_random_orders(kind):
    prior = prior_of(kind, **SMALL)
    by_order = torch.stack([nats_by_code(prior, order).sum(1) for order in ORDERS])
    probability = by_order.neg().exp().mean(0)
    assert probability.sum().item() == pytest.approx(1)
    excess = enumerated_bound(prior) + probability.log()
    assert (excess > -1e-5).all()
    assert excess.max() > 0.01  # orders differ, so that the bound is no equality here


@of_kinds
def test_nats_of_one_mask_by_hand(kind):
    prior, drawn, text = prior_of(kind), codes(3), captions(*CAPTIONS)
    noise = torch.cat([torch.tensor([[0.1], [0.4], [0.99]]), KEYS], dim=1)  # of 6: 1, 3, 6
    mask = torch.stack([MASKED[0], MASKED[1], torch.ones(6).bool()])
    found = prior.nats(drawn, text, noise)
    assert found.dtype == torch.float32
    nats = nats_by_hand(logits_of(prior, drawn, text, mask), drawn[mask])
    by_hand = [6 * nats[0], 2 * sum(nats[1:4]), sum(nats[4:])]
    assert found.tolist() == pytest.approx(by_hand, rel=1e-5)


def estimate(prior, drawn, *, batch_size=27, num_samples=4, seed=0):
    return likelihood(
        prior,
        drawn.numpy().astype(np.uint16),
        ["a"] * len(drawn),
        encode=lambda found: texts(len(found)),
        batch_size=batch_size,
        num_samples=num_samples,
        seed=seed,
    )


@of_kinds
@pytest.mark.parametrize("num_samples", [2, 9, 30])
def test_estimated_likelihood_is_near_the_enumerated_bound(kind, num_samples):
    prior = prior_of(kind, **SMALL)
    bound = enumerated_bound(prior).sum().item()
    for batch_size in (10, 27):
        found = estimate(prior, EVERY, batch_size=batch_size, num_samples=num_samples)
        error = found.variance.sum() ** 0.5
        assert 0 < error < 0.2 * bound
        assert abs(found.nats.sum() - bound) < 4 * error


@of_kinds
def test_standard_error_falls_with_the_number_of_samples(kind):
    prior = prior_of(kind, **SMALL)
    few, some, many = (
        estimate(prior, EVERY, num_samples=count).variance.sum() ** 0.5 for count in (4, 16, 64)
    )
    assert few / some == pytest.approx(2, rel=0.25)
    assert some / many == pytest.approx(2, rel=0.25)


@of_kinds
def test_errors_of_estimates_are_no_larger_than_their_standard_errors(kind):
    prior = prior_of(kind, **SMALL)
    bound = enumerated_bound(prior).sum().item()
    found = [estimate(prior, EVERY, num_samples=3, seed=seed) for seed in range(40)]
    errors = torch.tensor([one.nats.sum() - bound for one in found])
    expected = torch.tensor([one.variance.sum() for one in found]).mean().sqrt()
    assert errors.square().mean().sqrt() < 1.2 * expected
    assert errors.mean().abs() < 4 * expected / 40**0.5


@of_kinds
def test_estimates_depend_on_the_seed_only(kind):
    prior = prior_of(kind, **SMALL)
    first, again, other = (estimate(prior, EVERY, seed=seed).nats for seed in (0, 0, 1))
    np.testing.assert_array_equal(again, first)
    assert np.isclose(other, first).mean() < 0.1


def test_likelihood_of_an_exact_prior_depends_on_neither_samples_nor_seed():
    prior = randomised(transformer(**SMALL)).double()
    exact = prior.nats(EVERY, texts(27)).detach().double().numpy()
    for settings in ({}, {"num_samples": 1}, {"seed": 5}):
        found = estimate(prior, EVERY, **settings)
        assert found.nats == pytest.approx(exact, rel=1e-6)
        assert found.variance is None


@of_kinds
def test_fill_keeps_unmasked_codes(kind):
    prior, drawn, text = prior_of(kind), codes(3), captions(*CAPTIONS)
    mask = MASK[0]
    found = prior.fill(drawn, mask, text)
    assert torch.equal(found[:, ~mask], drawn[:, ~mask])
    best = logits_of(prior, drawn, text, mask.expand(3, 6)).argmax(1)
    assert torch.equal(found[:, mask].flatten(), best)
    assert found.dtype == torch.int64
    other = drawn.masked_fill(mask, 0)
    assert torch.equal(prior.fill(other, mask, text), found)


@of_kinds
def test_fill_with_an_empty_mask_changes_nothing(kind):
    prior, drawn = prior_of(kind), codes(3)
    nothing = torch.zeros(6).bool()
    assert torch.equal(prior.fill(drawn, nothing, captions(*CAPTIONS)), drawn)


@of_kinds
def test_untrained_prior_is_close_to_uniform(kind):
    torch.manual_seed(0)
    prior = KINDS[kind]().eval()
    noise = torch.rand(3, 7, generator=torch.Generator().manual_seed(0))
    nats = prior.nats(codes(3), captions(*CAPTIONS), noise)
    assert_close(nats, torch.full((3,), 6 * math.log(7)), rtol=0.05, atol=0)


@of_kinds
@pytest.mark.parametrize(("heads", "width"), [(3, 8), (4, 8)])
def test_heads_that_do_not_fit_are_refused(kind, heads, width):
    name = kind.removesuffix("_two_way")
    problem = rf"prior.{name}.heads: .*got heads={heads}, width={width}; change one"
    with pytest.raises(ValueError, match=problem):
        KINDS[kind](heads=heads, width=width)


@pytest.mark.parametrize(
    ("positions", "problem"),
    [
        ("learned", "must divide width, got heads=3, width=8;"),
        ("rope", "must divide width into heads of a multiple of 4 for rope, got heads=3, width=8;"),
    ],
)
def test_heads_of_cftn2_need_a_multiple_of_4_for_rope_only(positions, problem):
    with pytest.raises(ValueError, match=rf"^prior\.cftn2\.heads: {problem}"):
        KINDS["cftn2"](heads=3, width=8, positions=positions)
    if positions == "learned":
        KINDS["cftn2"](heads=4, width=8, positions=positions)


@of_kinds
@pytest.mark.parametrize("uniform", [0.0, 1.0])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_ends_of_the_uniform_draws_mask_at_least_one_and_at_most_all(kind, uniform, ratio):
    prior, drawn, text = prior_of(kind), codes(3), captions(*CAPTIONS)
    noise = torch.full((3, 7), uniform)
    assert prior.nats(drawn, text, noise).isfinite().all()
    keys = torch.full((3, 6), uniform)
    draws = draws_of(prior, kind, ratio=torch.full((3,), ratio), keys=keys)
    batch = prior_batch(prior, drawn, text, draws=draws)
    assert prior.losses(batch)["masked_nats"] > 0
    assert text_of(batch).features is None
