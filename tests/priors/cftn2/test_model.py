import math

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

from tests.tiny import NO_TEXT, captions, cftn2, codes, lively, phase, prior_batch
from vqpriors.priors.base.prior import text_of
from vqpriors.priors.cftn2.latent import Expectation, Gaussian, normal
from vqpriors.priors.cftn2.towers import PACE, converse
from vqpriors.training.optimisation import set_options

CAPTIONS = ([2, 3], [], [4, 5, 6])
ALL_CODES, ALL_TOKENS = torch.ones(3, 6).bool(), torch.ones(3, 5).bool()
SHARES = {"caption_share": 0.25, "joint_share": 0.25, "latent_share": 0.25}


def prior_of(gate=0.02, *, only=None, **changes):
    """Make a lively prior in float64; where asked, one in float32 that learns one thing only."""
    prior = lively(cftn2(**changes)).to(torch.float64 if only is None else torch.float32)
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.gate, gate)
    if only is not None:
        shares = dict.fromkeys(SHARES, 0.0)
        prior.begin_phase(**shares | ({} if only == "generate" else {f"{only}_share": 1.0}))
    return prior


def guess_codes(prior, tokens, text, latent=None):
    return prior.logits(tokens, prior.start(text, latent), ALL_CODES)


def guess_tokens(prior, tokens, drawn):
    return prior.caption_logits(tokens, prior.start_caption(drawn), ALL_TOKENS)


def draws_of(prior, *, ratio=(0.5, 0.5), whole=(1.0, 1.0), count=3, seed=0):
    """Give draws with given mask ratios of codes and of tokens, and the rest at random."""
    draws = torch.rand(count, prior.num_draws, generator=torch.Generator().manual_seed(seed))
    draws[:, :2] = 1 - torch.tensor(ratio)  # of the uniform schedule
    draws[:, 2:4] = torch.tensor(whole)
    return draws


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def alone(tower, x):
    """Return what the last block of a tower gives that hears nothing."""
    states = tower.alone(x)
    return tower.step(len(states) - 1, states[-1])


def test_picture_side_with_closed_gates_is_the_picture_tower_alone():
    prior, drawn = prior_of(0.0), codes(3)
    x = alone(prior.image, prior.image.embed(drawn))
    expected = prior.image.predict(x, ALL_CODES)
    for text in (captions(*CAPTIONS), captions([8], [7], [])):
        assert torch.equal(guess_codes(prior, drawn, text), expected)


def test_caption_side_with_closed_gates_is_the_text_tower_alone():
    prior, tokens = prior_of(0.0), captions(*CAPTIONS).tokens
    x = alone(prior.text, prior.text.embed(tokens))
    expected = prior.text.predict(x, ALL_TOKENS)
    for seed in (0, 1):
        assert torch.equal(guess_tokens(prior, tokens, codes(3, seed=seed)), expected)


def test_both_sides_with_closed_gates_are_the_towers_alone():
    prior, towers = prior_of(0.0), ("image", "text")
    image, words = prior.image.embed(codes(3)), prior.text.embed(captions(*CAPTIONS).tokens)
    pair = tuple(getattr(prior, name) for name in towers)
    found = converse(pair, (image, words), (prior.to_image, prior.to_text))
    assert torch.equal(found[0], alone(prior.image, image))
    assert torch.equal(found[1], alone(prior.text, words))


def test_fresh_gates_are_logged_for_each_layer_and_direction_as_0():
    prior = cftn2(depth=3)
    prior.losses(prior_batch(prior, codes(4), captions(*CAPTIONS, [7])))
    gates = {name: value for name, value in prior.measured.items() if name.startswith("gate")}
    assert sorted(gates) == [f"gate_to_{side}_{i}" for side in ("image", "text") for i in range(3)]
    assert [gate.item() for gate in gates.values()] == [0.0] * 6
    assert not any(gate.requires_grad for gate in gates.values())


def test_logged_gates_are_the_factors_of_what_is_heard():
    prior = prior_of(0.01, only="generate")
    prior.losses(prior_batch(prior, codes(4), captions(*CAPTIONS, [7])))
    assert prior.measured["gate_to_text_1"].item() == pytest.approx(math.tanh(0.01 * PACE))


@pytest.mark.parametrize("layer", [0, 1])
def test_open_gate_changes_the_logits_of_its_side_alone(layer):
    prior, text, drawn = prior_of(0.0), captions(*CAPTIONS), codes(3)
    before = guess_codes(prior, drawn, text), guess_tokens(prior, text.tokens, drawn)
    torch.nn.init.constant_(prior.to_image[layer].gate, 0.1)
    assert (guess_codes(prior, drawn, text) != before[0]).any(1).all()
    assert torch.equal(guess_tokens(prior, text.tokens, drawn), before[1])
    torch.nn.init.constant_(prior.to_text[layer].gate, 0.1)
    assert (guess_tokens(prior, text.tokens, drawn) != before[1]).any(1).all()


def test_caption_side_depends_on_every_code():
    prior, tokens, drawn = prior_of(), captions(*CAPTIONS).tokens, codes(3)
    full = guess_tokens(prior, tokens, drawn)
    for changed in range(6):
        other = drawn.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        assert (guess_tokens(prior, tokens, other) != full).any(1).all()


def test_looks_of_codes_tell_in_captions_alone():
    prior, text, drawn = prior_of(), captions(*CAPTIONS), codes(3)
    before = guess_tokens(prior, text.tokens, drawn), guess_codes(prior, drawn, text)
    prior.set_codebook(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    after = guess_tokens(prior, text.tokens, drawn), guess_codes(prior, drawn, text)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_caption_depends_on_where_codes_are(positions):
    prior, tokens = prior_of(positions=positions), captions(*CAPTIONS).tokens
    drawn = torch.tensor([[1, 2, 3, 4, 5, 6]]).repeat(3, 1)
    found = guess_tokens(prior, tokens, drawn), guess_tokens(prior, tokens, drawn.flip(1))
    assert not torch.allclose(*found)


def test_captions_are_read_once_however_many_passes_draw_a_picture():
    prior, drawn, text = prior_of(), codes(3), captions(*CAPTIONS)
    calls = [count_calls(block) for block in prior.text.blocks]
    state = prior.start(text)
    heard = [side[0][0].clone() for side in state.heard]
    first = prior.logits(drawn, state, ALL_CODES)
    for seed in (1, 2):
        prior.logits(codes(3, seed=seed), state, ALL_CODES)
    assert [len(found) for found in calls] == [1, 0]  # nobody listens to the last block
    assert all(torch.equal(side[0][0], was) for side, was in zip(state.heard, heard, strict=True))
    assert torch.equal(prior.logits(drawn, state, ALL_CODES), first)


def test_picture_is_looked_at_once_however_many_passes_write_a_caption():
    prior, tokens = prior_of(), captions(*CAPTIONS).tokens
    calls = [count_calls(block) for block in prior.image.blocks]
    state = prior.start_caption(codes(3))
    first = prior.caption_logits(tokens, state, ALL_TOKENS)
    for token in (prior.text_mask, 3):
        prior.caption_logits(torch.full_like(tokens, token), state, ALL_TOKENS)
    assert [len(found) for found in calls] == [1, 0]
    assert torch.equal(prior.caption_logits(tokens, state, ALL_TOKENS), first)


def test_wanted_tokens_are_rows_of_all_tokens():
    prior, tokens, drawn = prior_of(), captions(*CAPTIONS).tokens, codes(3)
    is_wanted = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    found = prior.caption_logits(tokens, prior.start_caption(drawn), is_wanted)
    assert found.shape == (is_wanted.sum(), prior.text_mask)
    assert_close(found, guess_tokens(prior, tokens, drawn).view(3, 5, 9)[is_wanted])


def test_prior_without_text_is_refused():
    with pytest.raises(ValueError, match=r"^text\.encoder: cftn2 reads and writes captions, got"):
        cftn2(text=NO_TEXT)


@pytest.mark.parametrize(
    ("batch", "shares", "expected"),
    [
        (8, (0.25, 0.25, 0.25), {"caption": 2, "joint": 2, "latent": 2, "generate": 2}),
        (128, (0.2, 0.1, 0.0), {"caption": 26, "joint": 12, "generate": 90}),
        (10, (0.1, 0.0, 0.5), {"caption": 1, "latent": 5, "generate": 4}),
        (5, (0.0, 0.0, 0.0), {"generate": 5}),
        (7, (0.0, 1.0, 0.0), {"joint": 7}),
        (3, (0.5, 0.0, 0.5), {"caption": 2, "latent": 1}),
        (6, (0.2, 0.7, 0.1), {"caption": 1, "joint": 4, "latent": 1}),
        (4, (0.01, 0.01, 0.01), {"caption": 1, "joint": 1, "latent": 1, "generate": 1}),
        (4, (0.9, 0.05, 0.02), {"caption": 1, "joint": 1, "latent": 1, "generate": 1}),
    ],
)
def test_each_example_of_a_training_batch_is_in_one_task(batch, shares, expected):
    prior = cftn2().train()
    prior.begin_phase(**dict(zip(SHARES, shares, strict=True)))
    rows = {name: list(range(batch)[part]) for name, part in prior._rows(batch).items()}
    assert {name: len(found) for name, found in rows.items()} == expected
    assert sorted(row for found in rows.values() for row in found) == list(range(batch))


def test_in_evaluation_all_examples_are_in_each_active_task():
    prior = cftn2().eval()
    for shares, names in (
        ((0.01, 0.0, 0.5), {"caption", "latent", "generate"}),
        ((0.0, 0.0, 0.0), {"generate"}),
        ((0.7, 0.2, 0.1), {"caption", "joint", "latent"}),
    ):
        prior.begin_phase(**dict(zip(SHARES, shares, strict=True)))
        rows = prior._rows(3)
        assert rows.keys() == names
        assert all(list(range(3)[part]) == [0, 1, 2] for part in rows.values())


def test_batch_with_fewer_examples_than_tasks_is_refused():
    prior = cftn2().train()
    batch = prior_batch(prior, codes(3), captions(*CAPTIONS))
    with pytest.raises(ValueError, match=r"prior.train.batch_size: must be at least 4 .* got 3"):
        prior.losses(batch)


@pytest.mark.parametrize("shares", [(0.5, 0.4, 0.2), (-0.1, 0.0, 0.0)])
def test_shares_that_do_not_fit_a_batch_are_refused(shares):
    with pytest.raises(ValueError, match=r"prior.cftn2.phases: shares must be at least 0 and add"):
        cftn2().begin_phase(**dict(zip(SHARES, shares, strict=True)))


NAMES = {
    "generate": {"masked_nats"},
    "caption": {"caption_nats"},
    "joint": {"joint_nats"},
    "latent": {"one_step_nats", "latent_nats"},
}


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("only", NAMES)
def test_losses_are_those_of_what_the_phase_has_to_learn(only, is_training):
    prior = prior_of(only=only).train(is_training)
    assert prior.losses(prior_batch(prior, codes(3), captions(*CAPTIONS))).keys() == NAMES[only]


def test_losses_without_options_are_those_of_every_task():
    prior = cftn2()
    set_options(prior, phase(options=dict.fromkeys(SHARES, 0.0)).options)
    set_options(prior, {})
    losses = prior.losses(prior_batch(prior, codes(4), captions(*CAPTIONS, [7])))
    assert losses.keys() == set().union(*NAMES.values())
    accuracies = {name for name in prior.measured if name.endswith("_accuracy")}
    assert accuracies == {"visual_accuracy", "caption_accuracy", "one_step_accuracy"}


def test_caption_loss_is_minus_the_log_probability_by_hand():
    prior, drawn, text = prior_of(only="caption"), codes(3), captions(*CAPTIONS)
    draws = draws_of(prior, ratio=(1.0, 0.4))  # of 5 tokens: 2, those of the lowest keys
    draws[:, -5:] = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.7])
    is_masked = torch.tensor([[0, 1, 0, 1, 0], [0] * 5, [0, 1, 0, 1, 0]]).bool()
    tokens = text.tokens.masked_fill(is_masked, 9)
    scores = guess_tokens(prior, tokens, drawn).view(3, 5, 9).log_softmax(2)
    by_hand = scores[0, 1, 2] + scores[0, 3, 0] + scores[2, 1, 4] + scores[2, 3, 6]
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    assert found["caption_nats"].item() == pytest.approx(-by_hand.item() / 4, rel=1e-5)


@pytest.mark.parametrize("only", ["caption", "joint"])
def test_empty_captions_are_no_targets(only):
    prior, drawn = prior_of(only=only), codes(3)
    text = captions([2, 3], [2, 3], [2, 3])
    batch = prior_batch(prior, drawn, text, draws=draws_of(prior, ratio=(0.5, 1.0)))
    batch["text_is_empty"] = torch.tensor([False, True, True])
    seen, predict = [], prior.text.predict

    def spy(x, is_wanted):
        seen.append(is_wanted)
        return predict(x, is_wanted)

    prior.text.predict = spy
    prior.losses(batch)
    assert seen[0].sum(1).tolist() == [5, 0, 0]


def test_batch_of_empty_captions_costs_nothing():
    prior = prior_of(only="caption").train()
    losses = prior.losses(prior_batch(prior, codes(3), captions([], [], [])))
    losses["caption_nats"].backward()
    assert losses["caption_nats"] == 0
    assert prior.measured["caption_accuracy"] == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in prior.parameters())


def test_joint_loss_is_that_of_both_sides_by_hand():
    prior, drawn, text = prior_of(only="joint"), codes(3), captions([2, 3], [8], [4, 5, 6])
    draws = draws_of(prior, ratio=(0.5, 0.4))
    is_hidden = draws[:, -11:-5].argsort(1).argsort(1) < 3
    is_unsaid = draws[:, -5:].argsort(1).argsort(1) < 2
    image = prior.image.embed(drawn.masked_fill(is_hidden, 7))
    words = prior.text.embed(text.tokens.masked_fill(is_unsaid, 9))
    for layer in range(2):
        to_image, to_text = prior.to_image[layer], prior.to_text[layer]
        image, words = (
            prior.image.step(layer, to_image(image, to_image.side(words, ALL_TOKENS))),
            prior.text.step(layer, to_text(words, to_text.side(image, ALL_CODES))),
        )
    of_codes = prior.image.predict(image, is_hidden).log_softmax(1)
    of_tokens = prior.text.predict(words, is_unsaid).log_softmax(1)
    by_hand = of_codes.gather(1, drawn[is_hidden][:, None]).mean()
    by_hand = by_hand + of_tokens.gather(1, text.tokens[is_unsaid][:, None]).mean()
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    assert found["joint_nats"].item() == pytest.approx(-by_hand.item(), rel=1e-5)


@pytest.mark.parametrize(("pictures", "texts"), [(0.0, 0.3), (0.3, 0.0), (0.3, 0.6), (1.0, 1.0)])
def test_whole_masks_hide_their_share_of_pictures_and_of_captions(pictures, texts):
    prior = cftn2(full_mask_prob=pictures, full_caption_mask_prob=texts).eval()
    prior.begin_phase(caption_share=0.5, joint_share=0.0, latent_share=0.0)
    count = 2000
    draws = torch.rand(count, prior.num_draws, generator=torch.Generator().manual_seed(0))
    draws[:, :2] = 0.9  # else a tenth of the codes and of the tokens: 1
    seen = {"image": [], "text": []}
    for name, tower in (("image", prior.image), ("text", prior.text)):
        tower.predict = lambda x, is_wanted, name=name: (
            seen[name].append(is_wanted.sum(1)) or torch.zeros(int(is_wanted.sum()), 9)
        )
    text = captions(*[[2, 3]] * count)
    prior.losses(prior_batch(prior, codes(count), text, draws=draws))
    for name, most, share in (("image", 6, pictures), ("text", 5, texts)):
        (counts,) = seen[name]
        is_whole = counts == most
        assert is_whole.float().mean().item() == pytest.approx(share, abs=0.03)
        assert (counts[~is_whole] == 1).all()


def test_latent_changes_the_logits_of_every_cell():
    prior, text = prior_of(), captions(*CAPTIONS)
    masked = torch.full((3, 6), prior.mask)
    first, second = torch.randn(2, 3, 3, dtype=torch.float64)
    told = guess_codes(prior, masked, text, first)
    assert (told != guess_codes(prior, masked, text, second)).any(1).all()
    assert (told != guess_codes(prior, masked, text)).any(1).all()


def test_latent_of_a_picture_is_the_same_with_its_caption_and_without():
    prior, noise = prior_of(), torch.randn(3, 3, dtype=torch.float64)
    both = captions(*CAPTIONS, [], [], [])
    alone = prior.start(captions(*CAPTIONS), noise).latent
    assert_close(prior.start(both, noise).latent, torch.cat([alone, alone]))
    other = prior.start(captions([], [2], []), noise).latent
    assert (alone != other).any(2).all()


def test_start_without_a_latent_does_not_look_at_the_latents_module():
    prior, text = prior_of(), captions(*CAPTIONS)
    masked = torch.full((3, 6), prior.mask)
    before = guess_codes(prior, masked, text, None)
    lively(prior.latent, seed=5)
    assert torch.equal(guess_codes(prior, masked, text), before)
    assert prior.start(text, None).latent is None


def expectation(**changes):
    """An expectation of latents that bends a lot."""
    settings = {"latent_width": 5, "width": 8, "depth": 3}
    return lively(Expectation(**settings | changes), seed=2).float()


def states_of(count=4):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(count, 5, 8, generator=generator)
    is_real = torch.arange(5) < torch.arange(1, count + 1)[:, None]
    return states, is_real


def test_entropy_and_draws_are_those_of_torch():
    drawn = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    found = Gaussian(drawn[0], drawn[1])
    same = Normal(found.mean, (0.5 * found.log_variance).exp())
    assert_close(found.entropy(), same.entropy().sum(1))
    assert_close(found.draw(drawn[2]), same.mean + same.stddev * drawn[2])


@pytest.mark.parametrize(("width", "depth"), [(5, 0), (5, 1), (5, 3), (1, 2), (2, 2), (4, 3)])
def test_surprise_at_a_latent_is_that_at_its_noise_and_what_was_stretched(width, depth):
    expected, (states, is_real) = expectation(latent_width=width, depth=depth), states_of()
    noise = torch.randn(4, width, generator=torch.Generator().manual_seed(1))
    latent = expected.draw(noise, states, is_real)
    assert (latent - noise).abs().mean() > 0.1
    jacobian = torch.autograd.functional.jacobian(
        lambda x: expected.draw(x, states, is_real).sum(0), noise
    )
    stretched = torch.stack([torch.linalg.slogdet(jacobian[:, i])[1] for i in range(4)])
    by_hand = -Normal(0.0, 1.0).log_prob(noise).sum(1) + stretched
    assert_close(expected.surprise(latent, states, is_real), by_hand, rtol=1e-5, atol=1e-5)


def test_captions_say_nothing_of_the_latent_at_first():
    prior, text = cftn2().eval(), captions(*CAPTIONS)
    states = prior.text.alone(prior.text.embed(text.tokens), text.is_real)
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    latent = prior.latent.expectation.draw(noise, states[-1], text.is_real)
    assert torch.equal(latent.sort(1).values, noise.sort(1).values)


def test_expected_latent_depends_on_the_caption_but_not_on_padding():
    expected, (states, is_real) = expectation(), states_of()
    noise = torch.ones(4, 5)
    before = expected.draw(noise, states, is_real)
    assert (before[0] != before[1]).all()
    states[~is_real] = 7.0
    assert_close(expected.draw(noise, states, is_real), before)


def test_distance_of_latents_that_are_as_expected_is_none():
    prior, (states, is_real) = cftn2(), states_of()
    prior.latent.expectation.silence()
    found = Gaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    noise = torch.randn(2000, 4, 3, generator=torch.Generator().manual_seed(0))
    surprise = [prior.latent.expectation.surprise(found.draw(n), states, is_real) for n in noise]
    distance = torch.stack(surprise).mean(0) - found.entropy()
    assert distance.abs().max() < 0.15


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_latent_depends_on_where_codes_are(positions):
    prior = prior_of(positions=positions, only="latent")
    drawn = torch.tensor([[1, 2, 3, 4, 5, 6]])
    found = []
    for shown in (drawn, drawn.flip(1)):
        batch = prior_batch(prior, shown, captions([2]))
        found.append(prior.losses(batch)["latent_nats"].item())
    assert found[0] != pytest.approx(found[1], rel=1e-6)


def test_one_step_loss_is_the_surprise_at_all_codes_given_the_latent():
    prior, drawn, text = prior_of(only="latent"), codes(3), captions(*CAPTIONS)
    draws = draws_of(prior)
    latent = prior.latent.read(prior.image.embed(drawn), turns=prior.image.turns)
    states = prior.text.alone(prior.text.embed(text.tokens), text.is_real)
    told = latent.draw(normal(draws[:, 4:7]))
    state = prior.start(text)
    state.latent = prior.latent(told)
    masked = torch.full((3, 6), prior.mask)
    scores = prior.logits(masked, state, ALL_CODES).log_softmax(1)
    by_hand = -scores.gather(1, drawn.view(-1, 1)).mean()
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    assert found["one_step_nats"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    surprise = prior.latent.expectation.surprise(told, states[-1], text.is_real)
    distance = (surprise - latent.entropy()).mean()
    assert found["latent_nats"].item() == pytest.approx(distance.item() / 6, rel=1e-6)


def test_uniform_draws_turn_into_standard_normal_ones():
    found = normal(torch.tensor([0.5, 0.8413447, 0.0227501, 0.0, 1.0]))
    assert_close(found, torch.tensor([0.0, 1.0, -2.0, -4.7534, 4.7534]), atol=1e-3, rtol=0)


def gradients(prior, **shares):
    prior.train().begin_phase(**SHARES | shares)
    losses = prior.losses(
        prior_batch(prior, codes(8), captions(*[[2, 3], [4], [5, 6, 7], [8]] * 2))
    )
    sum(losses.values()).backward()
    return {name for name, p in prior.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_gradients_reach_every_parameter(positions):
    prior = lively(cftn2(positions=positions))
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.gate, 0.1)
    prior.set_codebook(torch.randn(7, 3))
    assert gradients(prior) == {name for name, _ in prior.named_parameters()}


def test_without_its_share_the_latents_module_alone_gets_no_gradients():
    prior = lively(cftn2())
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.gate, 0.1)
    prior.set_codebook(torch.randn(7, 3))
    found = gradients(prior, latent_share=0.0)
    unreached = {name for name, _ in prior.named_parameters()} - found
    assert unreached == {f"latent.{name}" for name, _ in prior.latent.named_parameters()}


def test_gates_open_in_training_and_captions_are_learned():
    torch.manual_seed(0)
    prior = cftn2(width=16, full_caption_mask_prob=0.5).train()
    prior.begin_phase(caption_share=1.0, joint_share=0.0, latent_share=0.0)
    drawn, text = codes(3), captions([2, 3], [4], [5, 6, 7, 8])
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    for step in range(60):
        batch = prior_batch(prior, drawn, text, seed=step)
        optimizer.zero_grad()
        prior.losses(batch)["caption_nats"].backward()
        optimizer.step()
    masked = torch.full((3, 5), prior.text_mask)
    found = guess_tokens(prior.eval(), masked, drawn).argmax(1).view(3, 5)
    assert torch.equal(found, text.tokens)
    assert all(bridge.openness.abs().mean() > 0.01 for bridge in prior.to_text)
    assert text_of(batch).tokens is text.tokens
