import itertools

import numpy as np
import pytest
import torch

from tests.sampling.masked import NAMES, Count, Watched, cftn, cftn2, encode, num_masked
from tests.tiny import NO_TEXT, no_captions
from vqpriors.sampling import maskgit
from vqpriors.sampling.base.logits import draw, guide
from vqpriors.sampling.base.order import halton_ranks
from vqpriors.sampling.base.sampler import Noise, sample_codes, unwatched
from vqpriors.sampling.base.schedules import left_after
from vqpriors.sampling.base.unmasking import Plan, unmask
from vqpriors.sampling.maskgit import Parallel

PRIORS = {"cftn": cftn, "cftn2": cftn2}
ORDERS = ("confidence", "halton", "random")
SETTINGS = {"order": "confidence", "temperature": 1.0, "temperature_schedule": "constant"}
SETTINGS |= {
    "guidance_schedule": "constant",
    "choice_temperature": 0.0,
    "remask": 0.0,
    "latent_steps": 0,
}
EVERYWHERE = torch.ones(7, 6, dtype=torch.bool)


def sample(
    prior,
    *,
    guidance=1.0,
    steps=3,
    batch_size=10,
    seed=0,
    given=None,
    encode=encode,
    names=NAMES,
    watch=unwatched,
    **changes,
):
    return sample_codes(
        prior,
        Parallel(**SETTINGS | changes),
        names,
        encode=encode,
        guidance=guidance,
        steps=steps,
        batch_size=batch_size,
        precision="no",
        seed=seed,
        given=given,
        watch=watch,
    )


@pytest.fixture(scope="module", params=PRIORS)
def prior(request):
    return PRIORS[request.param]()


def noise(count=7, seed=0):
    return Noise(range(count), seed=seed, device=torch.device("cpu"))


def given(*, seed=0):
    """Return codes, and which to keep: all, none, and any number between."""
    generator = np.random.default_rng(seed)
    is_kept = generator.random((7, 6)) < np.array([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1])[:, None]
    return generator.integers(7, size=(7, 6)).astype(np.uint16), is_kept


@torch.inference_mode()
def in_one_pass(prior, names, latent=None):
    tokens = torch.full((len(names), 6), prior.mask_token)
    state = prior.start(encode(names), latent)
    return prior.logits(tokens, state, torch.ones_like(tokens, dtype=torch.bool))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "changes", [{}, {"guidance": 2.0, "choice_temperature": 4.5, "remask": 0.3}]
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_codes_depend_on_the_seed_and_not_on_the_batch_size(prior, order, changes, batch_size):
    codes = sample(prior, order=order, **changes)
    assert (codes.dtype, codes.shape) == (np.uint16, (7, 6))
    assert codes.max() < 7
    assert (sample(prior, order=order, batch_size=batch_size, **changes) == codes).all()
    assert (sample(prior, order=order, seed=1, **changes) != codes).any()
    assert (codes[0] != codes[3]).any()  # of the same caption


@pytest.mark.parametrize("order", ORDERS)
def test_masked_codes_after_each_step_are_those_of_the_schedule(prior, order):
    watched, (codes, is_kept) = Watched(prior), given()
    sample(watched, order=order, steps=4, given=(codes, is_kept))
    num_open = torch.from_numpy((~is_kept).sum(1))
    expected = torch.cat([num_open[None], left_after(num_open, 4)[:-1]])
    found = [num_masked(tokens, prior.mask_token) for tokens, _ in watched.passes]
    assert found == expected.tolist()
    assert len(set(num_open.tolist())) > 3


def test_guided_halves_are_asked_the_same(prior):
    watched = Watched(prior)
    sample(watched, guidance=2.0, given=given())
    for part in itertools.chain(*watched.passes):
        first, second = part.chunk(2)
        assert torch.equal(first, second)


def test_remasked_codes_are_a_share_of_those_written(prior):
    watched = Watched(prior)
    codes = sample(watched, steps=4, remask=0.5)
    # 5, 4, 2 codes are left, and half of 1, 2, 4 written ones
    found = [num_masked(tokens, prior.mask_token) for tokens, _ in watched.passes]
    assert found == [[6] * 7, [5 + 0] * 7, [4 + 1] * 7, [2 + 2] * 7]
    assert (codes != prior.mask_token).all()


@pytest.mark.parametrize("order", ORDERS)
def test_watch_is_told_of_each_pass_and_of_what_is_written(prior, order):
    seen = []
    codes = sample(
        prior, steps=4, order=order, watch=lambda *told: seen.append([t.clone() for t in told])
    )
    # 5, 4, 2 and 0 codes of 6 are left
    assert [is_written.sum(1).tolist() for _, is_written in seen] == [[n] * 7 for n in (1, 2, 4, 6)]
    for tokens, is_written in seen:
        assert (tokens[is_written] == torch.from_numpy(codes.astype(np.int64))[is_written]).all()
    assert (codes == sample(prior, steps=4, order=order)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_one_step_without_temperature_takes_the_likeliest(prior, order):
    found = sample(prior, steps=1, order=order, temperature=0.0)
    assert (found == in_one_pass(prior, NAMES).view(7, 6, 7).argmax(2).numpy()).all()


def test_one_step_draws_each_code_by_its_own_number(prior):
    numbers = noise().uniform(6).flatten()
    expected = draw(in_one_pass(prior, NAMES), numbers).view(7, 6)
    assert (sample(prior, steps=1) == expected.numpy()).all()


def test_temperature_divides_the_guided_logits(prior):
    sides = in_one_pass(prior, NAMES), in_one_pass(prior, [""] * 7)
    expected = draw(guide(*sides, 2.0) / 2.5, noise().uniform(6).flatten()).view(7, 6)
    found = sample(prior, steps=1, guidance=2.0, temperature=2.5)
    assert (found == expected.numpy()).all()
    assert (found != sample(prior, steps=1, guidance=2.0)).any()


def test_guidance_of_scale_1_asks_for_one_side_alone(prior):
    watched = Watched(prior)
    codes = sample(watched, guidance=1.0)
    assert all(len(tokens) == 7 for tokens, _ in watched.passes)
    assert (sample(prior, guidance=1.0, guidance_schedule="linear") == codes).all()


@torch.inference_mode()
def by_two_passes(prior, scales, *, choice_temperature=0.0):
    """Guide each step with the conditional and null logits of separate passes."""
    states = [prior.start(encode(NAMES)), prior.start(encode([""] * 7))]

    def logits_at(tokens, is_wanted, step):
        sides = (prior.logits(tokens, state, is_wanted) for state in states)
        return guide(*sides, scales[step])

    steps = len(scales)
    falling = [choice_temperature * (1 - (step + 1) / steps) for step in range(steps)]
    plan = Plan([1.0] * steps, falling, 0.0, None)
    tokens = torch.full((7, 6), prior.mask_token)
    return unmask(logits_at, tokens, EVERYWHERE, mask=prior.mask_token, plan=plan, noise=noise())


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0, 4.0])
def test_guidance_in_one_batch_equals_two_separate_passes(prior, scale):
    codes = sample(prior, guidance=scale, steps=4, choice_temperature=4.5)
    assert (codes == by_two_passes(prior, [scale] * 4, choice_temperature=4.5).numpy()).all()
    assert scale == 1.0 or (codes != sample(prior, steps=4, choice_temperature=4.5)).any()


@pytest.mark.parametrize(
    ("schedule", "scales"),
    [
        ("constant", [3.0, 3.0, 3.0, 3.0]),
        ("linear", [1.5, 2.0, 2.5, 3.0]),
        ("cosine", [1.1522, 1.5858, 2.2346, 3.0]),
    ],
)
def test_guidance_schedule_sets_the_scale_of_each_step(prior, monkeypatch, schedule, scales):
    used = []

    def spy(conditional, unconditional, scale):
        used.append(scale)
        return guide(conditional, unconditional, scale)

    monkeypatch.setattr(maskgit, "guide", spy)
    codes = sample(prior, guidance=3.0, steps=4, guidance_schedule=schedule)
    assert used == pytest.approx(scales, abs=1e-4)
    assert used[-1] == 3.0
    assert (codes == by_two_passes(prior, used).numpy()).all()


def test_null_condition_is_the_empty_caption(prior):
    assert (sample(prior, guidance=0.0) == sample(prior, names=[""] * 7)).all()


def test_prior_without_text_is_never_guided():
    watched = Watched(cftn(text=NO_TEXT))
    plain, guided = (
        sample(watched, encode=lambda names: no_captions(len(names)), guidance=guidance)
        for guidance in (1.0, 5.0)
    )
    assert (plain == guided).all()
    assert all(len(tokens) == 7 for tokens, _ in watched.passes)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_falling_temperature_ends_with_the_likeliest(prior, schedule):
    watched = Watched(prior)
    found = sample(watched, steps=2, temperature_schedule=schedule)
    tokens, wanted = watched.passes[-1]
    with torch.inference_mode():
        logits = prior.logits(tokens, prior.start(encode(NAMES)), wanted)
    assert (torch.from_numpy(found.astype(np.int64))[wanted] == logits.argmax(1)).all()
    assert (found != sample(prior, steps=2)).any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "changes", [{}, {"guidance": 2.0}, {"remask": 0.5}, {"choice_temperature": 9.0}]
)
@pytest.mark.parametrize("batch_size", [3, 7])
def test_given_codes_stay_and_all_passes_see_them(prior, order, changes, batch_size):
    watched, (codes, is_kept) = Watched(prior), given()
    found = sample(watched, order=order, given=(codes, is_kept), batch_size=batch_size, **changes)
    assert (found[is_kept] == codes[is_kept]).all()
    assert (found < 7).all()
    assert (found != codes).any()
    if batch_size == 7:
        for tokens, _ in watched.passes:
            assert (tokens[:7].numpy()[is_kept] == codes[is_kept]).all()


def test_given_codes_matter_to_what_is_drawn(prior):
    is_kept = np.tile(np.arange(6) < 3, (7, 1))
    first, second = (sample(prior, given=(given(seed=seed)[0], is_kept)) for seed in (0, 1))
    assert (first[:, 3:] != second[:, 3:]).any()


def test_halton_order_writes_by_rank(prior):
    watched, ranks = Watched(prior), halton_ranks(2, 3)
    sample(watched, order="halton", steps=4)
    for (tokens, _), count in zip(watched.passes, (0, 1, 2, 4), strict=True):
        assert ((tokens != prior.mask_token) == (ranks < count)).all()


def test_random_order_is_of_each_picture(prior):
    watched = Watched(prior)
    sample(watched, order="random", steps=6)
    first = (watched.passes[1][0] != prior.mask_token).int().argmax(1)
    assert torch.equal(first, noise().uniform(6).argmin(1))
    assert first.unique().numel() > 1


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
def test_samples_in_random_order_have_the_probabilities_of_the_prior(make):
    prior = make(grid=(1, 2), codebook_size=3)
    tower = getattr(prior, "image", prior)
    tower.embedding.weight.data *= 3  # so that the two orders differ by more than chance
    tower.head.weight.data /= 2
    codes = sample(prior, order="random", steps=2, names=["b"] * 4000, batch_size=4000)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.inference_mode():
        state = prior.start(encode(["b"] * 9))

        def probability(tokens, cell):
            is_wanted = torch.zeros(9, 2, dtype=torch.bool)
            is_wanted[:, cell] = True
            chances = prior.logits(tokens, state, is_wanted).softmax(1)
            return chances.gather(1, every[:, cell, None])[:, 0]

        unknown = torch.full_like(every, prior.mask_token)
        by_order = []
        for first, second in ((0, 1), (1, 0)):
            half = every.clone()
            half[:, second] = prior.mask_token
            by_order.append(probability(unknown, first) * probability(half, second))
    expected = (by_order[0] + by_order[1]) / 2
    assert expected.sum() == pytest.approx(1.0)
    found = np.bincount(codes[:, 0].astype(int) * 3 + codes[:, 1], minlength=9) / 4000
    assert np.abs(found - expected.numpy()).max() < 0.025
    assert (by_order[0] - by_order[1]).abs().max() > 0.05


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_text_is_read_once_a_picture(prior, guidance):
    tower = getattr(prior, "text_tower", None) or prior.text.blocks[0]
    with Count(tower) as count:
        sample(prior, guidance=guidance, steps=5)
    assert count.calls == 1


@pytest.mark.parametrize(
    ("steps", "latent_steps", "is_used"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (1, 3, True), (4, 3, False)],
)
def test_latent_is_used_in_so_many_steps_or_fewer(steps, latent_steps, is_used):
    watched = Watched(cftn2())
    codes = sample(watched, steps=steps, latent_steps=latent_steps)
    (latent,) = watched.latents
    assert (latent is not None) == is_used
    assert is_used == (codes != sample(cftn2(), steps=steps)).any()
    if is_used:
        assert torch.equal(latent, noise().normal(3))


def test_latent_of_a_picture_is_drawn_once_for_guidance():
    watched = Watched(cftn2())
    sample(watched, steps=1, latent_steps=1, guidance=2.0)
    (latent,) = watched.latents
    assert torch.equal(latent, noise().normal(3))


def test_latent_does_not_depend_on_the_batch_size():
    codes = sample(cftn2(), steps=1, latent_steps=1, guidance=2.0)
    assert (sample(cftn2(), steps=1, latent_steps=1, guidance=2.0, batch_size=2) == codes).all()


def test_prior_without_a_latent_gets_none():
    watched = Watched(cftn())
    sample(watched, steps=1, latent_steps=5)
    assert watched.latents == [None]


@pytest.mark.parametrize("order", ORDERS)
def test_steps_beyond_the_codes_take_no_pass(prior, order):
    watched = Watched(prior)
    codes = sample(watched, order=order, steps=40)
    assert len(watched.passes) == 6
    assert codes.max() < 7
