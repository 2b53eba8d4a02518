import itertools

import numpy as np
import pytest
import torch

from tests.marks import needs_avx512, needs_fast_bfloat16
from tests.sampling.masked import (
    NAMES,
    CallCounter,
    RecordingPrior,
    cftn,
    cftn2,
    encode,
    num_masked,
)
from tests.tiny import NO_TEXT, no_captions
from vqpriors.core.hardware import working_dtype
from vqpriors.nn import compiled_attention
from vqpriors.priors.base.cells import Cells
from vqpriors.sampling.base import compiled_draw
from vqpriors.sampling.base.logits import draw, guide
from vqpriors.sampling.base.sampler import PictureRandom, no_callback, sample_codes
from vqpriors.sampling.base.unmasking import UnmaskingSchedule, num_masked_after, unmask
from vqpriors.sampling.maskgit import sampler as maskgit
from vqpriors.sampling.maskgit.halton import halton_ranks
from vqpriors.sampling.maskgit.sampler import MaskGIT

PRIORS = {"cftn": cftn, "cftn2": cftn2}
ORDERS = ("confidence", "halton", "random")
SETTINGS = {"order": "confidence", "temperature": 1.0, "temperature_schedule": "constant"}
SETTINGS |= {
    "guidance_schedule": "constant",
    "choice_temperature": 0.0,
    "remask": 0.0,
    "latent_steps": 0,
    "latent_temperature": 1.0,
}
EVERYWHERE = torch.ones(7, 6, dtype=torch.bool)


def sample(
    prior,
    *,
    guidance=1.0,
    steps=3,
    batch_size=10,
    seed=0,
    known=None,
    encode=encode,
    names=NAMES,
    callback=no_callback,
    precision="no",
    compile=False,
    **changes,
):
    return sample_codes(
        prior,
        MaskGIT(**SETTINGS | changes),
        names,
        encode=encode,
        compile=compile,
        guidance=guidance,
        steps=steps,
        batch_size=batch_size,
        precision=precision,
        seed=seed,
        known=known,
        callback=callback,
    )


def test_auto_is_bfloat16_where_a_cpu_is_fast_in_it(monkeypatch):
    monkeypatch.setattr("vqpriors.core.hardware._has_fast_bfloat16", lambda _: True)
    prior = PRIORS["cftn"]()
    seen, logits = set(), prior.logits

    def noted(*arguments):
        seen.add(str(working_dtype(prior.embedding.weight)))
        return logits(*arguments)

    monkeypatch.setattr(prior, "logits", noted)
    sample(prior, precision="auto")
    assert seen == {"torch.bfloat16"}


@pytest.fixture(scope="module", params=PRIORS)
def prior(request):
    return PRIORS[request.param]()


def picture_random(count=7, seed=0):
    return PictureRandom(range(count), seed=seed, device=torch.device("cpu"))


def random_known(*, seed=0):
    """Return codes, and which to keep: all, none, and any number between."""
    generator = np.random.default_rng(seed)
    keep = generator.random((7, 6)) < np.array([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1])[:, None]
    return generator.integers(7, size=(7, 6)).astype(np.uint16), keep


@torch.inference_mode()
def one_step_logits(prior, names, latent=None):
    tokens = torch.full((len(names), 6), prior.mask_token)
    state = prior.start(encode(names), latent)
    return prior.logits(tokens, state, Cells.everywhere(tokens))


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
    assert (codes[0] != codes[3]).any()  # with the same caption


@pytest.mark.parametrize("order", ORDERS)
def test_masked_codes_after_each_step_follow_the_schedule(prior, order):
    recorded, (codes, keep) = RecordingPrior(prior), random_known()
    sample(recorded, order=order, steps=4, known=(codes, keep))
    num_open = torch.from_numpy((~keep).sum(1))
    expected = torch.cat([num_open[None], num_masked_after(num_open, 4)[:-1]])
    found = [num_masked(tokens, prior.mask_token) for tokens, _ in recorded.calls]
    assert found == expected.tolist()
    assert len(set(num_open.tolist())) > 3


def test_guided_halves_get_the_same_tokens(prior):
    recorded = RecordingPrior(prior)
    sample(recorded, guidance=2.0, known=random_known())
    for part in itertools.chain(*recorded.calls):
        first, second = part.chunk(2)
        assert torch.equal(first, second)


def test_remasked_codes_are_a_share_of_the_decoded_ones(prior):
    recorded = RecordingPrior(prior)
    codes = sample(recorded, steps=4, remask=0.5)
    # 5, 4, 2 codes are masked, and half of the 1, 2, 4 decoded ones
    found = [num_masked(tokens, prior.mask_token) for tokens, _ in recorded.calls]
    assert found == [[6] * 7, [5 + 0] * 7, [4 + 1] * 7, [2 + 2] * 7]
    assert (codes != prior.mask_token).all()


@pytest.mark.parametrize("order", ORDERS)
def test_callback_gets_the_codes_and_the_mask_of_each_step(prior, order):
    seen = []
    codes = sample(
        prior, steps=4, order=order, callback=lambda *state: seen.append([t.clone() for t in state])
    )
    # 5, 4, 2 and 0 of 6 codes are masked
    assert [mask.sum(1).tolist() for _, mask in seen] == [[n] * 7 for n in (5, 4, 2, 0)]
    for tokens, mask in seen:
        assert (tokens[~mask] == torch.from_numpy(codes.astype(np.int64))[~mask]).all()
    assert (codes == sample(prior, steps=4, order=order)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_one_step_at_temperature_0_takes_the_likeliest_codes(prior, order):
    found = sample(prior, steps=1, order=order, temperature=0.0)
    assert (found == one_step_logits(prior, NAMES).view(7, 6, 7).argmax(2).numpy()).all()


def test_one_step_draws_each_code_with_its_own_number(prior):
    numbers = picture_random().uniform(6).flatten()
    expected = draw(one_step_logits(prior, NAMES), numbers).view(7, 6)
    assert (sample(prior, steps=1) == expected.numpy()).all()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_step_draws_different_pictures_of_one_caption(prior, schedule):
    found = sample(prior, steps=1, names=["b"] * 7, temperature_schedule=schedule)
    assert len({tuple(codes) for codes in found.tolist()}) > 1
    assert (found == sample(prior, steps=1, names=["b"] * 7)).all()  # at the full temperature


def test_temperature_divides_the_guided_logits(prior):
    sides = one_step_logits(prior, NAMES), one_step_logits(prior, [""] * 7)
    expected = draw(guide(*sides, 2.0) / 2.5, picture_random().uniform(6).flatten()).view(7, 6)
    found = sample(prior, steps=1, guidance=2.0, temperature=2.5)
    assert (found == expected.numpy()).all()
    assert (found != sample(prior, steps=1, guidance=2.0)).any()


def test_guidance_of_scale_1_computes_no_null_logits(prior):
    recorded = RecordingPrior(prior)
    codes = sample(recorded, guidance=1.0)
    assert all(len(tokens) == 7 for tokens, _ in recorded.calls)
    assert (sample(prior, guidance=1.0, guidance_schedule="linear") == codes).all()


@torch.inference_mode()
def guided_by_two_calls(prior, scales, *, choice_temperature=0.0):
    """Guide each step with conditional and null logits of separate calls."""
    states = [prior.start(encode(NAMES)), prior.start(encode([""] * 7))]

    def logits_at(tokens, selected, step):
        sides = (prior.logits(tokens, state, selected) for state in states)
        return [guide(*sides, scales[step])]

    steps = len(scales)
    falling = [choice_temperature * (1 - (step + 1) / steps) for step in range(steps)]
    schedule = UnmaskingSchedule([1.0] * steps, falling, 0.0, None)
    tokens = torch.full((7, 6), prior.mask_token)
    return unmask(
        logits_at,
        tokens,
        EVERYWHERE,
        mask_token=prior.mask_token,
        schedule=schedule,
        random=picture_random(),
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0, 4.0])
def test_guidance_in_one_batch_equals_two_separate_calls(prior, scale):
    codes = sample(prior, guidance=scale, steps=4, choice_temperature=4.5)
    assert (codes == guided_by_two_calls(prior, [scale] * 4, choice_temperature=4.5).numpy()).all()
    plain = sample(prior, steps=4, choice_temperature=4.5)
    assert (codes != plain).any() == (scale != 1.0)


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
    assert (codes == guided_by_two_calls(prior, used).numpy()).all()


def test_null_condition_is_the_empty_caption(prior):
    assert (sample(prior, guidance=0.0) == sample(prior, names=[""] * 7)).all()


def test_prior_without_text_is_never_guided():
    recorded = RecordingPrior(cftn(text=NO_TEXT))
    plain, guided = (
        sample(recorded, encode=lambda names: no_captions(len(names)), guidance=guidance)
        for guidance in (1.0, 5.0)
    )
    assert (plain == guided).all()
    assert all(len(tokens) == 7 for tokens, _ in recorded.calls)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_falling_temperature_ends_with_the_likeliest_codes(prior, schedule):
    recorded = RecordingPrior(prior)
    found = sample(recorded, steps=2, temperature_schedule=schedule)
    tokens, selected = recorded.calls[-1]
    with torch.inference_mode():
        logits = prior.logits(tokens, prior.start(encode(NAMES)), Cells.of(selected))
    assert (torch.from_numpy(found.astype(np.int64))[selected] == logits.argmax(1)).all()
    assert (found != sample(prior, steps=2)).any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "changes", [{}, {"guidance": 2.0}, {"remask": 0.5}, {"choice_temperature": 9.0}]
)
@pytest.mark.parametrize("batch_size", [3, 7])
def test_known_codes_are_kept_in_all_steps(prior, order, changes, batch_size):
    recorded, (codes, keep) = RecordingPrior(prior), random_known()
    found = sample(recorded, order=order, known=(codes, keep), batch_size=batch_size, **changes)
    assert (found[keep] == codes[keep]).all()
    assert (found < 7).all()
    assert (found != codes).any()
    if batch_size == 7:
        for tokens, _ in recorded.calls:
            assert (tokens[:7].numpy()[keep] == codes[keep]).all()


def test_drawn_codes_depend_on_known_codes(prior):
    keep = np.tile(np.arange(6) < 3, (7, 1))
    first, second = (sample(prior, known=(random_known(seed=seed)[0], keep)) for seed in (0, 1))
    assert (first[:, 3:] != second[:, 3:]).any()


def test_halton_order_decodes_by_rank(prior):
    recorded, ranks = RecordingPrior(prior), halton_ranks(2, 3)
    sample(recorded, order="halton", steps=4)
    for (tokens, _), count in zip(recorded.calls, (0, 1, 2, 4), strict=True):
        assert ((tokens != prior.mask_token) == (ranks < count)).all()


def test_random_order_differs_between_pictures(prior):
    recorded = RecordingPrior(prior)
    sample(recorded, order="random", steps=6)
    first = (recorded.calls[1][0] != prior.mask_token).int().argmax(1)
    assert torch.equal(first, picture_random().uniform(6).argmin(1))
    assert first.unique().numel() > 1


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
def test_samples_in_random_order_have_the_probabilities_of_the_prior(make):
    prior = make(grid=(1, 2), codebook_size=3)
    tower = getattr(prior, "image", prior)
    tower.embedding.weight.data *= 3  # so that the two orders differ by more than sampling error
    tower.head.weight.data /= 2
    codes = sample(prior, order="random", steps=2, names=["b"] * 4000, batch_size=4000)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.inference_mode():
        state = prior.start(encode(["b"] * 9))

        def probability(tokens, cell):
            selected = torch.zeros(9, 2, dtype=torch.bool)
            selected[:, cell] = True
            chances = prior.logits(tokens, state, Cells.of(selected)).softmax(1)
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
def test_text_is_encoded_once_per_picture(prior, guidance):
    tower = getattr(prior, "text_tower", None) or prior.text.blocks[0]
    with CallCounter(tower) as count:
        sample(prior, guidance=guidance, steps=5)
    assert count.calls == 1


@pytest.mark.parametrize(
    ("steps", "latent_steps", "is_used"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (1, 3, True), (4, 3, False)],
)
def test_latent_is_used_up_to_latent_steps(steps, latent_steps, is_used):
    recorded = RecordingPrior(cftn2())
    codes = sample(recorded, steps=steps, latent_steps=latent_steps)
    (latent,) = recorded.latents
    assert (latent is not None) == is_used
    assert is_used == (codes != sample(cftn2(), steps=steps)).any()
    if is_used:
        assert torch.equal(latent, picture_random().normal(3))


@pytest.mark.parametrize(("steps", "temperature"), [(1, 0.0), (2, 1.0)])
def test_latent_has_a_temperature_of_its_own(steps, temperature):
    changes = {"latent_steps": 1, "latent_temperature": 0.0}
    assert MaskGIT(**SETTINGS | changes).temperature_for(cftn2(), steps) == temperature
    codes = sample(cftn2(), steps=steps, **changes)
    if steps == 1:  # the likeliest codes of the latent
        latent = picture_random().normal(3)
        assert (
            codes == one_step_logits(cftn2(), NAMES, latent).argmax(-1).view(7, 6).numpy()
        ).all()
    warmer = sample(cftn2(), steps=steps, **changes | {"latent_temperature": 0.5})
    assert (codes == warmer).all() == (steps == 2)


def test_prior_without_a_latent_has_no_temperature_of_the_latent():
    changes = {"latent_steps": 9, "latent_temperature": 0.0}
    assert MaskGIT(**SETTINGS | changes).temperature_for(cftn(), 1) == 1.0


def test_guided_halves_share_the_latent():
    recorded = RecordingPrior(cftn2())
    sample(recorded, steps=1, latent_steps=1, guidance=2.0)
    (latent,) = recorded.latents
    assert torch.equal(latent, picture_random().normal(3))


def test_latent_does_not_depend_on_the_batch_size():
    codes = sample(cftn2(), steps=1, latent_steps=1, guidance=2.0)
    assert (sample(cftn2(), steps=1, latent_steps=1, guidance=2.0, batch_size=2) == codes).all()


def test_prior_without_a_latent_gets_none():
    recorded = RecordingPrior(cftn())
    sample(recorded, steps=1, latent_steps=5)
    assert recorded.latents == [None]


@pytest.mark.parametrize("order", ORDERS)
def test_steps_beyond_the_codes_call_no_prior(prior, order):
    recorded = RecordingPrior(prior)
    codes = sample(recorded, order=order, steps=40)
    assert len(recorded.calls) == 6
    assert codes.max() < 7


@pytest.mark.parametrize("order", ORDERS)
def test_temperature_falls_to_0_where_few_codes_are_redrawn(order):
    """With 2 codes to draw there are 2 steps, of which the last takes the likeliest code."""
    prior = cftn()
    codes = torch.zeros(7, 6, dtype=torch.int64)
    keep = torch.tensor([[True] * 4 + [False] * 2]).expand(7, 6)
    calls, original = [], maskgit.unmask

    def recorded(*args, schedule, **options):
        calls.append(schedule.temperatures)
        return original(*args, schedule=schedule, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maskgit, "unmask", recorded)
        for steps in (12, 2, 1):
            known = codes.numpy(), keep.numpy()
            settings = {"temperature": 2.0, "temperature_schedule": "linear", "order": order}
            sample(prior, steps=steps, known=known, **settings)
    assert calls == [[1.0, 0.0], [1.0, 0.0], [2.0]]


@pytest.mark.parametrize(
    "precision",
    [pytest.param("bf16", marks=needs_fast_bfloat16), pytest.param("no", marks=needs_avx512)],
)
@pytest.mark.parametrize(("guidance", "temperature"), [(1.0, 2.0), (2.0, 2.0), (1.0, 0.0)])
def test_layers_in_c_draw_nearly_the_same_codes(
    prior, monkeypatch, caplog, precision, guidance, temperature
):
    used, call = [], compiled_attention._call
    monkeypatch.setattr(
        compiled_attention, "_call", lambda name, *given: used.append(name) or call(name, *given)
    )
    draws, draw_in_c = [], compiled_draw.draw
    monkeypatch.setattr(
        compiled_draw, "draw", lambda *given: draws.append(given) or draw_in_c(*given)
    )
    settings = {"guidance": guidance, "precision": precision, "names": NAMES * 8}
    settings["temperature"] = temperature
    # Without it, all cells of the first step are equally likely, and rounding would order them.
    settings["choice_temperature"] = 4.5
    expected = sample(prior, **settings)
    assert not used
    assert not draws
    codes = sample(prior, **settings, compile=True)
    assert set(used) == {"attend"}
    assert bool(draws) == (temperature > 0)
    assert (codes == expected).mean() > (0.9 if precision == "bf16" else 0.99)
    assert (sample(prior, **settings, compile=True, batch_size=3) == codes).all()
    assert not caplog.messages


def test_compiling_that_changes_nothing_is_logged(prior, monkeypatch, caplog):
    expected = sample(prior)
    for module in ("vqpriors.sampling.base.sampler", "vqpriors.core.compiler"):
        monkeypatch.setattr(f"{module}.avx512_problem", lambda *_: "a reason")
    assert (sample(prior, compile=True) == expected).all()
    assert caplog.messages == ["compile: changes nothing: a reason"]
