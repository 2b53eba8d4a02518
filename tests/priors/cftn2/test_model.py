import itertools
import math

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

from tests.tiny import NO_TEXT, TEXT, captions, cftn2, codes, phase, prior_batch, randomised
from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.prior import text_of
from vqpriors.priors.cftn2.latent import Gaussian, LatentFlow, standard_normal
from vqpriors.priors.cftn2.losses import TASKS
from vqpriors.priors.cftn2.tasks import split_batch, task_shares
from vqpriors.priors.cftn2.towers import GATE_LR_SCALE, forward_joint
from vqpriors.training.phase_setup import set_options

CAPTIONS = ([2, 3], [], [4, 5, 6])
ALL_CODES, ALL_TOKENS = torch.ones(3, 6).bool(), torch.ones(3, 5).bool()
CODE_CELLS, TOKEN_CELLS = Cells.of(ALL_CODES), Cells.of(ALL_TOKENS)
SHARES = {"caption_share": 0.25, "joint_share": 0.25, "latent_share": 0.25}


def prior_of(gate=0.02, *, only=None, **changes):
    """Make a prior with large weights, in float64; or in float32, with one training task only."""
    prior = randomised(cftn2(**changes)).to(torch.float64 if only is None else torch.float32)
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.raw_gate, gate)
    if only is not None:
        shares = dict.fromkeys(SHARES, 0.0)
        prior.begin_phase(**shares | ({} if only == "generate" else {f"{only}_share": 1.0}))
    return prior


def all_code_logits(prior, tokens, text, latent=None):
    return prior.logits(tokens, prior.start(text, latent), CODE_CELLS)


def all_token_logits(prior, tokens, drawn):
    return prior.caption_logits(tokens, prior.start_caption(drawn), TOKEN_CELLS)


def draws_of(prior, *, ratio=(0.5, 0.5), full_mask=(1.0, 1.0), count=3, seed=0):
    """Return draws with given mask ratios of codes and tokens, and the rest at random."""
    draws = torch.rand(count, prior.num_draws, generator=torch.Generator().manual_seed(seed))
    draws[:, :2] = 1 - torch.tensor(ratio)  # of the uniform schedule
    draws[:, 2:4] = torch.tensor(full_mask)
    return draws


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def without_bridges(tower, x):
    """Return the output of a tower's last block without cross-attention."""
    states = tower.hidden_states(x)
    return tower.run_block(len(states) - 1, states[-1])


@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize("feature_width", [0, 3])
def test_idle_submodules_are_those_without_gradients(feature_width, two_way):
    text = captions(*CAPTIONS, [7])
    text = text._replace(features=torch.ones(4, 5, feature_width) if feature_width else None)
    sets = [s for n in (1, 2, 3, 4) for s in itertools.combinations(TASKS, n)]
    for tasks in sets:
        prior = randomised(cftn2(two_way=two_way, text=TEXT._replace(feature_width=feature_width)))
        for bridge in (*prior.to_image, *prior.to_text):
            torch.nn.init.constant_(bridge.raw_gate, 0.02)
        share = 1 / len(tasks)
        prior.begin_phase(**{f"{t}_share": share * (t in tasks) for t in TASKS if t != "generate"})
        sum(prior.train().losses(prior_batch(prior, codes(4), text)).values()).backward()
        unused = {name for name, p in prior.named_parameters() if p.grad is None}
        idle = tuple(f"{name}." for name in prior.idle)
        expected = {name for name, _ in prior.named_parameters() if name.startswith(idle)}
        assert unused == expected, tasks


def test_code_logits_with_closed_gates_are_those_of_the_image_tower():
    prior, drawn = prior_of(0.0), codes(3)
    x = without_bridges(prior.image, prior.image.embed(drawn))
    expected = prior.image.predict(x, CODE_CELLS)
    for text in (captions(*CAPTIONS), captions([8], [7], [])):
        assert torch.equal(all_code_logits(prior, drawn, text), expected)


def test_caption_logits_with_closed_gates_are_those_of_the_text_tower():
    prior, tokens = prior_of(0.0), captions(*CAPTIONS).tokens
    x = without_bridges(prior.text, prior.text.embed(tokens))
    expected = prior.text.predict(x, TOKEN_CELLS)
    for seed in (0, 1):
        assert torch.equal(all_token_logits(prior, tokens, codes(3, seed=seed)), expected)


def test_joint_forward_with_closed_gates_equals_separate_towers():
    prior, towers = prior_of(0.0), ("image", "text")
    image, words = prior.image.embed(codes(3)), prior.text.embed(captions(*CAPTIONS).tokens)
    pair = tuple(getattr(prior, name) for name in towers)
    found = forward_joint(pair, (image, words), (prior.to_image, prior.to_text))
    assert torch.equal(found[0], without_bridges(prior.image, image))
    assert torch.equal(found[1], without_bridges(prior.text, words))


def test_initial_gates_are_logged_as_0_for_each_layer_and_direction():
    prior = cftn2(depth=3)
    prior.losses(prior_batch(prior, codes(4), captions(*CAPTIONS, [7])))
    gates = {name: value for name, value in prior.measured.items() if name.startswith("gate")}
    assert sorted(gates) == [f"gate_to_{name}_{i}" for name in ("image", "text") for i in range(3)]
    assert [gate.item() for gate in gates.values()] == [0.0] * 6
    assert not any(gate.requires_grad for gate in gates.values())


def test_logged_gates_are_the_factors_of_the_attention():
    prior = prior_of(0.01, only="generate")
    prior.losses(prior_batch(prior, codes(4), captions(*CAPTIONS, [7])))
    assert prior.measured["gate_to_text_1"].item() == pytest.approx(math.tanh(0.01 * GATE_LR_SCALE))


@pytest.mark.parametrize("layer", [0, 1])
def test_open_gate_changes_the_logits_of_its_modality_only(layer):
    prior, text, drawn = prior_of(0.0), captions(*CAPTIONS), codes(3)
    before = all_code_logits(prior, drawn, text), all_token_logits(prior, text.tokens, drawn)
    torch.nn.init.constant_(prior.to_image[layer].raw_gate, 0.1)
    assert (all_code_logits(prior, drawn, text) != before[0]).any(1).all()
    assert torch.equal(all_token_logits(prior, text.tokens, drawn), before[1])
    torch.nn.init.constant_(prior.to_text[layer].raw_gate, 0.1)
    assert (all_token_logits(prior, text.tokens, drawn) != before[1]).any(1).all()


def test_caption_logits_depend_on_every_code():
    prior, tokens, drawn = prior_of(), captions(*CAPTIONS).tokens, codes(3)
    full = all_token_logits(prior, tokens, drawn)
    for changed in range(6):
        other = drawn.clone()
        other[:, changed] = (other[:, changed] + 1) % 7
        assert (all_token_logits(prior, tokens, other) != full).any(1).all()


def test_codebook_changes_caption_logits_only():
    prior, text, drawn = prior_of(), captions(*CAPTIONS), codes(3)
    before = all_token_logits(prior, text.tokens, drawn), all_code_logits(prior, drawn, text)
    prior.set_codebook(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    after = all_token_logits(prior, text.tokens, drawn), all_code_logits(prior, drawn, text)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_caption_logits_depend_on_positions_of_codes(positions):
    prior, tokens = prior_of(positions=positions), captions(*CAPTIONS).tokens
    drawn = torch.tensor([[1, 2, 3, 4, 5, 6]]).repeat(3, 1)
    found = all_token_logits(prior, tokens, drawn), all_token_logits(prior, tokens, drawn.flip(1))
    assert not torch.allclose(*found)


def test_captions_are_encoded_once_for_any_number_of_decoding_steps():
    prior, drawn, text = prior_of(), codes(3), captions(*CAPTIONS)
    calls = [count_calls(block) for block in prior.text.blocks]
    state = prior.start(text)
    keys = [context[0][0].clone() for context in state.contexts]
    first = prior.logits(drawn, state, CODE_CELLS)
    for seed in (1, 2):
        prior.logits(codes(3, seed=seed), state, CODE_CELLS)
    assert [len(found) for found in calls] == [1, 0]  # its last block is not attended to
    for context, expected in zip(state.contexts, keys, strict=True):
        assert torch.equal(context[0][0], expected)
    assert torch.equal(prior.logits(drawn, state, CODE_CELLS), first)


def test_picture_is_encoded_once_for_any_number_of_captioning_steps():
    prior, tokens = prior_of(), captions(*CAPTIONS).tokens
    calls = [count_calls(block) for block in prior.image.blocks]
    state = prior.start_caption(codes(3))
    first = prior.caption_logits(tokens, state, TOKEN_CELLS)
    for token in (prior.text_mask_token, 3):
        prior.caption_logits(torch.full_like(tokens, token), state, TOKEN_CELLS)
    assert [len(found) for found in calls] == [1, 0]
    assert torch.equal(prior.caption_logits(tokens, state, TOKEN_CELLS), first)


def test_logits_of_masked_tokens_are_rows_of_those_of_all_tokens():
    prior, tokens, drawn = prior_of(), captions(*CAPTIONS).tokens, codes(3)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    found = prior.caption_logits(tokens, prior.start_caption(drawn), Cells.of(mask))
    assert found.shape == (mask.sum(), prior.text_mask_token)
    assert_close(found, all_token_logits(prior, tokens, drawn).view(3, 5, 9)[mask])


def test_prior_without_text_is_refused():
    with pytest.raises(ValueError, match=r"^text\.encoder: cftn2 needs captions, got none"):
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
    shares = task_shares(**dict(zip(("caption", "joint", "latent"), shares, strict=True)))
    parts = split_batch(places(0, batch, batch), shares, is_training=True)
    rows = {name: list(range(batch)[part]) for name, part in parts.items()}
    assert {name: len(found) for name, found in rows.items()} == expected
    assert sorted(row for found in rows.values() for row in found) == list(range(batch))


def places(start, end, batch_size):
    """Return a part of a batch, from one place to another, for `split_batch`."""
    place = torch.arange(start, end)
    return {"place": place, "batch_size": torch.full_like(place, batch_size)}


@pytest.mark.parametrize("ends", [(0, 4, 8), (0, 1, 2, 8), (0, 3, 6, 8)])
def test_parts_of_a_batch_are_divided_as_the_batch_is(ends):
    shares = task_shares(caption=0.25, joint=0.1, latent=0.4)
    whole = split_batch(places(0, 8, 8), shares, is_training=True)
    expected = {name: list(range(8)[rows]) for name, rows in whole.items()}
    found = {name: [] for name in whole}
    for start, end in itertools.pairwise(ends):
        for name, rows in split_batch(places(start, end, 8), shares, is_training=True).items():
            found[name] += list(range(start, end)[rows])
    assert found == expected


def test_in_evaluation_all_examples_are_in_each_active_task():
    for shares, names in (
        ((0.01, 0.0, 0.5), {"caption", "latent", "generate"}),
        ((0.0, 0.0, 0.0), {"generate"}),
        ((0.7, 0.2, 0.1), {"caption", "joint", "latent"}),
    ):
        shares = task_shares(**dict(zip(("caption", "joint", "latent"), shares, strict=True)))
        rows = split_batch(places(0, 3, 3), shares, is_training=False)
        assert rows.keys() == names
        assert all(list(range(3)[part]) == [0, 1, 2] for part in rows.values())


def test_batch_with_fewer_examples_than_tasks_is_refused():
    prior = cftn2().train()
    batch = prior_batch(prior, codes(3), captions(*CAPTIONS))
    with pytest.raises(ValueError, match=r"prior.train.batch_size: must be at least 4, .* got 3"):
        prior.losses(batch)


@pytest.mark.parametrize("shares", [(0.5, 0.4, 0.2), (-0.1, 0.0, 0.0)])
def test_shares_that_do_not_fit_a_batch_are_refused(shares):
    with pytest.raises(ValueError, match=r"prior.cftn2.phases: shares must be at least 0 and add"):
        cftn2().begin_phase(**dict(zip(SHARES, shares, strict=True)))


NAMES = {
    "generate": {"masked_nats"},
    "caption": {"caption_nats"},
    "joint": {"joint_code_nats", "joint_caption_nats"},
    "latent": {"one_step_nats", "latent_nats"},
}


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("only", NAMES)
def test_losses_are_those_of_the_tasks_of_the_phase(only, is_training):
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
    assert "latent_kl" in prior.measured


def test_caption_loss_is_minus_the_log_probability_by_hand():
    prior, drawn, text = prior_of(only="caption"), codes(3), captions(*CAPTIONS)
    draws = draws_of(prior, ratio=(1.0, 0.4))  # of 5 tokens: 2, those of the lowest keys
    draws[:, -5:] = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.7])
    is_masked = torch.tensor([[0, 1, 0, 1, 0], [0] * 5, [0, 1, 0, 1, 0]]).bool()
    tokens = text.tokens.masked_fill(is_masked, 9)
    scores = all_token_logits(prior, tokens, drawn).view(3, 5, 9).log_softmax(2)
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

    def spy(x, cells):
        seen.append(cells.mask)
        return predict(x, cells)

    prior.text.predict = spy
    prior.losses(batch)
    assert seen[0].sum(1).tolist() == [5, 0, 0]


def test_caption_loss_of_empty_captions_is_0():
    prior = prior_of(only="caption").train()
    losses = prior.losses(prior_batch(prior, codes(3), captions([], [], [])))
    losses["caption_nats"].backward()
    assert losses["caption_nats"] == 0
    assert prior.measured["caption_accuracy"] == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in prior.parameters())


def test_joint_loss_by_hand():
    prior, drawn, text = prior_of(only="joint"), codes(3), captions([2, 3], [8], [4, 5, 6])
    draws = draws_of(prior, ratio=(0.5, 0.4))
    code_mask = draws[:, -11:-5].argsort(1).argsort(1) < 3
    token_mask = draws[:, -5:].argsort(1).argsort(1) < 2
    image = prior.image.embed(drawn.masked_fill(code_mask, 7))
    words = prior.text.embed(text.tokens.masked_fill(token_mask, 9))
    for layer in range(2):
        to_image, to_text = prior.to_image[layer], prior.to_text[layer]
        image, words = (
            prior.image.run_block(layer, to_image(image, to_image.keys_values(words, ALL_TOKENS))),
            prior.text.run_block(layer, to_text(words, to_text.keys_values(image, ALL_CODES))),
        )
    of_codes = prior.image.predict(image, Cells.of(code_mask)).log_softmax(1)
    of_tokens = prior.text.predict(words, Cells.of(token_mask)).log_softmax(1)
    code_nats = -of_codes.gather(1, drawn[code_mask][:, None]).mean().item()
    caption_nats = -of_tokens.gather(1, text.tokens[token_mask][:, None]).mean().item()
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    assert found["joint_code_nats"].item() == pytest.approx(code_nats, rel=1e-5)
    assert found["joint_caption_nats"].item() == pytest.approx(caption_nats, rel=1e-5)


@pytest.mark.parametrize(("pictures", "texts"), [(0.0, 0.3), (0.3, 0.0), (0.3, 0.6), (1.0, 1.0)])
def test_pictures_and_captions_are_fully_masked_with_their_probability(pictures, texts):
    prior = cftn2(full_mask_prob=pictures, full_caption_mask_prob=texts).eval()
    prior.begin_phase(caption_share=0.5, joint_share=0.0, latent_share=0.0)
    count = 2000
    draws = torch.rand(count, prior.num_draws, generator=torch.Generator().manual_seed(0))
    draws[:, :2] = 0.9  # a mask ratio of 0.1: 1 code and 1 token
    seen = {"image": [], "text": []}
    for name, tower in (("image", prior.image), ("text", prior.text)):
        tower.predict = lambda x, cells, name=name: (
            seen[name].append(cells.mask.sum(1)) or torch.zeros(len(cells), 9)
        )
    text = captions(*[[2, 3]] * count)
    prior.losses(prior_batch(prior, codes(count), text, draws=draws))
    for name, length, prob in (("image", 6, pictures), ("text", 5, texts)):
        (counts,) = seen[name]
        is_full = counts == length
        assert is_full.float().mean().item() == pytest.approx(prob, abs=0.03)
        assert (counts[~is_full] == 1).all()


def inputs_of(block):
    """Record the inputs of a block."""
    seen = []
    block.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    return seen


@pytest.mark.parametrize("two_way", [True, False])
def test_text_tower_attends_to_the_codes_only_if_two_way(two_way):
    prior, text = prior_of(two_way=two_way), captions(*CAPTIONS)
    seen, state = inputs_of(prior.text.blocks[0]), prior.start(text)
    tokens = codes(3)
    first = prior.logits(tokens, state, CODE_CELLS)
    prior.logits((tokens + 1) % 7, state, CODE_CELLS)
    assert len(seen) == (2 if two_way else 1)
    for bridge in prior.to_text:
        torch.nn.init.constant_(bridge.raw_gate, -0.3)
    other = prior.logits(tokens, prior.start(text), CODE_CELLS)
    assert (first != other).any() == two_way
    if two_way:
        assert (seen[0] != seen[1]).any(2).all()


@pytest.mark.parametrize("two_way", [True, False])
def test_image_tower_attends_to_the_caption_only_if_two_way(two_way):
    prior, drawn = prior_of(two_way=two_way), codes(3)
    seen, state = inputs_of(prior.image.blocks[0]), prior.start_caption(drawn)
    tokens = captions(*CAPTIONS).tokens
    first = prior.caption_logits(tokens, state, TOKEN_CELLS)
    prior.caption_logits((tokens + 1) % 9, state, TOKEN_CELLS)
    assert len(seen) == (2 if two_way else 1)
    for bridge in prior.to_image:
        torch.nn.init.constant_(bridge.raw_gate, -0.3)
    other = prior.caption_logits(tokens, prior.start_caption(drawn), TOKEN_CELLS)
    assert (first != other).any() == two_way
    if two_way:
        assert (seen[0] != seen[1]).any(2).all()


def test_two_way_with_closed_gates_back_equals_one_way():
    one, two = (prior_of(two_way=two_way) for two_way in (False, True))
    two.load_state_dict(one.state_dict())
    text, drawn, noise = captions(*CAPTIONS), codes(3), torch.randn(3, 3, dtype=torch.float64)
    for bridge in two.to_text:
        torch.nn.init.zeros_(bridge.raw_gate)
    for latent in (None, noise):
        found = all_code_logits(two, drawn, text, latent)
        assert_close(found, all_code_logits(one, drawn, text, latent))
    two.load_state_dict(one.state_dict())
    for bridge in two.to_image:
        torch.nn.init.zeros_(bridge.raw_gate)
    assert_close(
        all_token_logits(two, text.tokens, drawn), all_token_logits(one, text.tokens, drawn)
    )


@pytest.mark.parametrize("only", ["caption", "latent"])
def test_two_way_losses_are_those_of_its_logits(only):
    prior, drawn, text = prior_of(only=only, two_way=True), codes(3), captions([2, 3], [8], [4])
    draws = draws_of(prior, ratio=(1.0, 0.4))
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    if only == "caption":
        mask, targets, name = draws[:, -5:].argsort(1).argsort(1) < 2, text.tokens, "caption_nats"
        tokens, state = targets.masked_fill(mask, 9), prior.start_caption(drawn)
        logits = prior.caption_logits(tokens, state, Cells.of(mask))
    else:
        mask, targets, name = ALL_CODES, drawn, "one_step_nats"
        posterior = prior.latent.encode(prior.image.embed(drawn), rope=prior.image.rope)
        state = prior.start(text)
        state.latent = prior.latent(posterior.rsample(standard_normal(draws[:, 4:7])))
        logits = prior.logits(torch.full_like(drawn, 7), state, Cells.of(mask))
    by_hand = -logits.log_softmax(1).gather(1, targets[mask][:, None]).mean()
    assert found[name].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_two_way_prior_draws_with_and_without_captions():
    prior = prior_of(two_way=True)
    for text in (captions([], [], []), captions([2, 3], [], [4])):
        drawn = all_code_logits(prior, torch.full((3, 6), prior.mask_token), text)
        assert drawn.isfinite().all()
    empty = all_code_logits(prior, codes(3), captions([], [], []))
    full = all_code_logits(prior, codes(3), captions([2, 3], [8], [4]))
    assert (empty != full).any(1).all()


def test_latent_changes_the_logits_of_every_cell():
    prior, text = prior_of(), captions(*CAPTIONS)
    masked = torch.full((3, 6), prior.mask_token)
    first, second = torch.randn(2, 3, 3, dtype=torch.float64)
    found = all_code_logits(prior, masked, text, first)
    assert (found != all_code_logits(prior, masked, text, second)).any(1).all()
    assert (found != all_code_logits(prior, masked, text)).any(1).all()


def test_latent_of_a_picture_is_the_same_with_and_without_its_caption():
    prior, noise = prior_of(), torch.randn(3, 3, dtype=torch.float64)
    both = captions(*CAPTIONS, [], [], [])
    latent = prior.start(captions(*CAPTIONS), noise).latent
    assert_close(prior.start(both, noise).latent, torch.cat([latent, latent]))
    other = prior.start(captions([], [2], []), noise).latent
    assert (latent != other).any(2).all()


def test_start_without_a_latent_does_not_use_its_module():
    prior, text = prior_of(), captions(*CAPTIONS)
    masked = torch.full((3, 6), prior.mask_token)
    before = all_code_logits(prior, masked, text, None)
    randomised(prior.latent, seed=5)
    assert torch.equal(all_code_logits(prior, masked, text), before)
    assert prior.start(text, None).latent is None


def flow_of(**changes):
    """Return a flow far from the identity."""
    settings = {"latent_width": 5, "width": 8, "depth": 3}
    return randomised(LatentFlow(**settings | changes), seed=2).float()


def states_of(count=4):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(count, 5, 8, generator=generator)
    text_mask = torch.arange(5) < torch.arange(1, count + 1)[:, None]
    return states, text_mask


def test_entropy_and_samples_are_those_of_torch():
    drawn = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    found = Gaussian(drawn[0], drawn[1])
    same = Normal(found.mean, (0.5 * found.log_variance).exp())
    assert_close(found.entropy(), same.entropy().sum(1))
    assert_close(found.rsample(drawn[2]), same.mean + same.stddev * drawn[2])


@pytest.mark.parametrize(("width", "depth"), [(5, 0), (5, 1), (5, 3), (1, 2), (2, 2), (4, 3)])
def test_nll_of_a_latent_is_that_of_its_noise_plus_log_determinant(width, depth):
    flow, (states, text_mask) = flow_of(latent_width=width, depth=depth), states_of()
    noise = torch.randn(4, width, generator=torch.Generator().manual_seed(1))
    latent = flow.rsample(noise, states, text_mask)
    assert (latent - noise).abs().mean() > 0.1
    jacobian = torch.autograd.functional.jacobian(
        lambda x: flow.rsample(x, states, text_mask).sum(0), noise
    )
    log_det = torch.stack([torch.linalg.slogdet(jacobian[:, i])[1] for i in range(4)])
    by_hand = -Normal(0.0, 1.0).log_prob(noise).sum(1) + log_det
    assert_close(flow.nll(latent, states, text_mask), by_hand, rtol=1e-4, atol=1e-4)


def test_untrained_flow_only_permutes_channels():
    prior, text = cftn2().eval(), captions(*CAPTIONS)
    states = prior.text.hidden_states(prior.text.embed(text.tokens), text.text_mask)
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    latent = prior.latent.flow.rsample(noise, states[-1], text.text_mask)
    assert torch.equal(latent.sort(1).values, noise.sort(1).values)


def test_sampled_latent_depends_on_the_caption_but_not_on_padding():
    flow, (states, text_mask) = flow_of(), states_of()
    noise = torch.ones(4, 5)
    before = flow.rsample(noise, states, text_mask)
    assert (before[0] != before[1]).all()
    states[~text_mask] = 7.0
    assert_close(flow.rsample(noise, states, text_mask), before)


def test_divergence_of_equal_posterior_and_prior_is_0():
    prior, (states, text_mask) = cftn2(), states_of()
    prior.latent.flow.init_identity()
    found = Gaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    noise = torch.randn(2000, 4, 3, generator=torch.Generator().manual_seed(0))
    nll = [prior.latent.flow.nll(found.rsample(n), states, text_mask) for n in noise]
    divergence = torch.stack(nll).mean(0) - found.entropy()
    assert divergence.abs().max() < 0.15


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_latent_depends_on_positions_of_codes(positions):
    prior = prior_of(positions=positions, only="latent")
    drawn = torch.tensor([[1, 2, 3, 4, 5, 6]])
    found = []
    for shown in (drawn, drawn.flip(1)):
        batch = prior_batch(prior, shown, captions([2]))
        found.append(prior.losses(batch)["latent_nats"].item())
    assert found[0] != pytest.approx(found[1], rel=1e-6)


def test_one_step_losses_by_hand():
    prior, drawn, text = prior_of(only="latent"), codes(3), captions(*CAPTIONS)
    draws = draws_of(prior)
    posterior = prior.latent.encode(prior.image.embed(drawn), rope=prior.image.rope)
    states = prior.text.hidden_states(prior.text.embed(text.tokens), text.text_mask)
    latent = posterior.rsample(standard_normal(draws[:, 4:7]))
    state = prior.start(text)
    state.latent = prior.latent(latent)
    masked = torch.full((3, 6), prior.mask_token)
    scores = prior.logits(masked, state, CODE_CELLS).log_softmax(1)
    by_hand = -scores.gather(1, drawn.view(-1, 1)).mean()
    found = prior.losses(prior_batch(prior, drawn, text, draws=draws))
    assert found["one_step_nats"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    prior_nll = prior.latent.flow.nll(latent, states[-1], text.text_mask)
    divergence = (prior_nll - posterior.entropy()).mean()
    assert found["latent_nats"].item() == pytest.approx(divergence.item() / 6, rel=1e-6)


def with_posterior(prior, mean, log_variance):
    """Give every picture the same posterior of its latent, and the prior a standard normal."""
    prior.latent.flow.init_identity()
    torch.nn.init.zeros_(prior.latent.posterior.weight)
    with torch.no_grad():
        prior.latent.posterior.bias.copy_(torch.tensor([*mean, *log_variance]))
    return prior


def kl_of(mean, log_variance):
    """Return the KL divergence of a normal distribution from the standard one, by its formula."""
    pairs = zip(mean, log_variance, strict=True)
    return 0.5 * sum(math.exp(lv) + m * m - 1 - lv for m, lv in pairs)


@pytest.mark.parametrize(
    ("mean", "log_variance"),
    [((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((2.0, -1.0, 0.0), (-3.0, 0.5, -1.0))],
)
def test_latent_kl_is_that_of_a_known_posterior(mean, log_variance):
    prior = with_posterior(prior_of(only="latent"), mean, log_variance)
    batch = prior_batch(prior, codes(4000), captions(*[[2, 3]] * 4000))
    losses = prior.losses(batch)
    assert prior.measured["latent_kl"].item() == pytest.approx(kl_of(mean, log_variance), abs=0.1)
    assert losses["latent_nats"].item() == pytest.approx(prior.measured["latent_kl"].item() / 6)


def test_free_nats_are_the_least_cost_of_a_picture():
    prior, drawn = with_posterior(prior_of(only="latent"), [2.0, 0, 0], [-9.0] * 3), codes(4)
    batch = prior_batch(prior, drawn, captions(*[[2, 3]] * 4))
    costs = []
    for row in range(4):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        prior.losses(alone)
        costs.append(prior.measured["latent_kl"].item())
    prior.free_nats = (min(costs) + max(costs)) / 2
    assert min(costs) < prior.free_nats < max(costs)
    found = prior.losses(batch)["latent_nats"].item()
    assert found == pytest.approx(sum(max(cost, prior.free_nats) for cost in costs) / 4 / 6)
    assert prior.measured["latent_kl"].item() == pytest.approx(sum(costs) / 4)


def test_latent_below_the_free_nats_has_no_gradient():
    prior = with_posterior(prior_of(only="latent", free_nats=50.0), [1.0] * 3, [0.0] * 3)
    batch = prior_batch(prior, codes(3), captions(*CAPTIONS))
    (gradient,) = torch.autograd.grad(
        prior.losses(batch)["latent_nats"], prior.latent.posterior.bias
    )
    assert not gradient.any()
    prior.free_nats = 0.0
    (gradient,) = torch.autograd.grad(
        prior.losses(batch)["latent_nats"], prior.latent.posterior.bias
    )
    assert gradient.any()


def test_uniform_draws_turn_into_standard_normal_ones():
    found = standard_normal(torch.tensor([0.5, 0.8413447, 0.0227501, 0.0, 1.0]))
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
    prior = randomised(cftn2(positions=positions))
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.raw_gate, 0.1)
    prior.set_codebook(torch.randn(7, 3))
    assert gradients(prior) == {name for name, _ in prior.named_parameters()}


def test_without_its_share_only_the_latent_module_gets_no_gradients():
    prior = randomised(cftn2())
    for bridge in (*prior.to_image, *prior.to_text):
        torch.nn.init.constant_(bridge.raw_gate, 0.1)
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
    masked = torch.full((3, 5), prior.text_mask_token)
    found = all_token_logits(prior.eval(), masked, drawn).argmax(1).view(3, 5)
    assert torch.equal(found, text.tokens)
    assert all(bridge.gate().abs().mean() > 0.01 for bridge in prior.to_text)
    assert text_of(batch).tokens is text.tokens
