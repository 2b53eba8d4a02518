import numpy as np
import pytest
import torch

from tests.marks import needs_c_compiler
from tests.tiny import NO_TEXT, captions, no_captions, randomised, transformer
from vqpriors.core.hardware import working_dtype
from vqpriors.core.seeds import derived_seed
from vqpriors.data.text_inputs import TextInput
from vqpriors.nn.compiled_step import CompiledBlocks
from vqpriors.sampling.autoregressive import Autoregressive
from vqpriors.sampling.base.logits import draw, guide
from vqpriors.sampling.base.sampler import PictureRandom, no_callback, sample_codes, stack

ROWS = {"a": [2], "b": [3, 4], "c": [5, 6, 7], "": []}
NAMES = list("abcabca")


def encode(names):
    return captions(*(ROWS[name] for name in names))


def sampler(**changes):
    return Autoregressive(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | changes)


def sample(
    prior,
    *,
    guidance=1.0,
    steps=1,
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
        sampler(**changes),
        names,
        encode=encode,
        guidance=guidance,
        steps=steps,
        batch_size=batch_size,
        precision=precision,
        seed=seed,
        known=known,
        callback=callback,
        compile=compile,
    )


def uniform(rows, count=6, *, seed=0):
    """Return the first numbers of each picture's random number generator."""
    generators = [torch.Generator().manual_seed(derived_seed(seed, "picture", r)) for r in rows]
    draws = [torch.rand(count, generator=g, dtype=torch.float64) for g in generators]
    return torch.stack(draws)


@pytest.fixture(scope="module")
def prior():
    return randomised(transformer())


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_codes_depend_on_the_seed_and_not_on_the_batch_size(prior, guidance, batch_size):
    codes = sample(prior, guidance=guidance)
    assert (codes.dtype, codes.shape) == (np.uint16, (7, 6))
    assert (sample(prior, guidance=guidance, batch_size=batch_size) == codes).all()
    assert (sample(prior, guidance=guidance, seed=1) != codes).any()
    assert (codes[0] != codes[3]).any()  # with the same caption


@needs_c_compiler
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_compiled_steps_draw_the_same_codes(monkeypatch, prior, guidance):
    seen, call = [], CompiledBlocks.__call__
    monkeypatch.setattr(
        CompiledBlocks, "__call__", lambda self, x: seen.append(len(x)) or call(self, x)
    )
    expected = sample(prior, guidance=guidance)
    assert not seen
    assert (sample(prior, guidance=guidance, compile=True) == expected).all()
    assert seen == [7 if guidance == 1 else 14] * prior.length


@pytest.mark.parametrize(("precision", "dtype"), [("auto", "float32"), ("bf16", "bfloat16")])
def test_auto_is_float32_code_by_code_on_a_cpu(monkeypatch, prior, precision, dtype):
    monkeypatch.setattr("vqpriors.core.hardware._has_fast_bfloat16", lambda _: True)
    seen, start = set(), prior.start

    def noted(text):
        seen.add(str(working_dtype(prior.embedding.weight)))
        return start(text)

    monkeypatch.setattr(prior, "start", noted)
    sample(prior, precision=precision)
    assert seen == {f"torch.{dtype}"}


def picture_random(rows, *, seed=3):
    return PictureRandom(rows, seed=seed, device=torch.device("cpu"))


def test_numbers_of_a_picture_depend_only_on_its_row():
    numbers = picture_random(range(5)).uniform(6)
    assert torch.equal(picture_random(range(2, 4)).uniform(6), numbers[2:4])
    assert numbers.dtype == torch.float64
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.unique().numel() == 30
    assert not torch.equal(picture_random(range(5), seed=4).uniform(6), numbers)


def test_calls_continue_the_same_numbers():
    found = picture_random(range(3))
    assert torch.equal(
        torch.cat([found.uniform(2), found.uniform(4)], 1), uniform(range(3), seed=3)
    )


def test_normal_numbers_are_standard_normal_and_use_the_same_numbers():
    found = picture_random(range(20))
    numbers = found.normal(500)
    assert numbers.dtype == torch.float32
    expected = torch.special.ndtri(uniform(range(20), 501, seed=3)[:, :500]).float()
    torch.testing.assert_close(numbers, expected)
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.std() - 1) < 0.03
    assert torch.equal(found.uniform(1), uniform(range(20), 501, seed=3)[:, 500:])


def test_each_code_is_drawn_with_its_own_number(prior):
    text, numbers = encode(NAMES), uniform(range(7))
    expected = torch.zeros(7, 6, dtype=torch.int64)
    for position in range(6):
        expected[:, position] = draw(
            prior.logits(expected, text)[:, position], numbers[:, position]
        )
    assert (sample(prior) == expected.numpy()).all()


def test_steps_are_ignored(prior):
    assert (sample(prior, steps=9) == sample(prior)).all()


def random_known(*keep):
    codes = np.random.default_rng(0).integers(7, size=(7, 6)).astype(np.uint16)
    return codes, np.tile(np.array(keep, dtype=bool), (7, 1))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_completion_continues_the_known_codes(prior, guidance):
    codes, keep = random_known(1, 1, 1, 0, 0, 0)
    found = sample(prior, guidance=guidance, known=(codes, keep))
    text, null, numbers = encode(NAMES), encode([""] * 7), uniform(range(7))
    expected = torch.from_numpy(codes.astype(np.int64))
    for position in range(3, 6):
        sides = (prior.logits(expected, side)[:, position] for side in (text, null))
        expected[:, position] = draw(guide(*sides, guidance), numbers[:, position])
    assert (found == expected.numpy()).all()
    assert (found != sample(prior, guidance=guidance)).any()


def test_drawn_upper_half_is_completed_to_the_same_picture(prior):
    drawn = sample(prior)
    keep = np.tile(np.arange(6) < 3, (7, 1))
    assert (sample(prior, known=(drawn, keep)) == drawn).all()


@pytest.mark.parametrize("batch_size", [2, 7])
@pytest.mark.parametrize("cells", [(0, 1, 0, 1, 0, 1), (1, 1, 1, 1, 1, 1), (0, 0, 0, 0, 0, 0)])
def test_known_codes_are_kept(prior, cells, batch_size):
    codes, keep = random_known(*cells)
    found = sample(prior, known=(codes, keep), batch_size=batch_size)
    assert (found[keep] == codes[keep]).all()
    assert (found == sample(prior)).all() == (not any(cells))


@pytest.mark.parametrize("limit", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-9}])
def test_greedy_limits_equal_decoding_by_argmax(prior, limit):
    found = sample(prior, **limit)
    text = encode(NAMES)
    expected = torch.zeros(7, 6, dtype=torch.int64)
    for position in range(6):
        expected[:, position] = prior.logits(expected, text)[:, position].argmax(1)
    assert (found == expected.numpy()).all()


@torch.inference_mode()
def guided_by_two_calls(prior, scale, temperature):
    """Guide with conditional and null logits of separate, uncached calls."""
    text, null, numbers = encode(NAMES), encode([""] * 7), uniform(range(7))
    codes = torch.zeros(7, 6, dtype=torch.int64)
    for position in range(6):
        sides = (prior.logits(codes, side)[:, position] for side in (text, null))
        codes[:, position] = draw(guide(*sides, scale) / temperature, numbers[:, position])
    return codes.numpy()


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0, 4.0])
def test_guidance_in_one_batch_equals_two_separate_calls(prior, scale):
    codes = sample(prior, guidance=scale)
    assert (codes == guided_by_two_calls(prior, scale, 1.0)).all()
    assert (codes != sample(prior)).any() == (scale != 1.0)


def test_temperature_divides_the_guided_logits(prior):
    codes = sample(prior, guidance=2.0, temperature=2.5)
    assert (codes == guided_by_two_calls(prior, 2.0, 2.5)).all()
    assert (codes != sample(prior, guidance=2.0)).any()


def test_null_condition_is_the_empty_caption(prior):
    assert (sample(prior, guidance=0.0) == sample(prior, names=[""] * 7)).all()


def test_prior_without_text_is_never_guided():
    prior = randomised(transformer(text=NO_TEXT))
    plain = sample(prior, encode=lambda names: no_captions(len(names)))
    guided = sample(prior, encode=lambda names: no_captions(len(names)), guidance=5.0)
    assert (plain == guided).all()


def test_only_the_top_k_codes_are_drawn(prior):
    codes = torch.from_numpy(sample(prior, top_k=2).astype(np.int64))
    best = prior.logits(codes, encode(NAMES)).topk(2, dim=-1).indices
    assert (best == codes[..., None]).any(2).all()


def test_samples_have_the_probabilities_of_the_prior():
    prior = randomised(transformer(grid=(1, 2), codebook_size=3))
    codes = sample(prior, names=["b"] * 4000, batch_size=4000).astype(np.int64)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    expected = prior.nats(every, encode(["b"] * 9)).neg().exp()
    found = torch.bincount(torch.from_numpy(codes[:, 0] * 3 + codes[:, 1]), minlength=9) / 4000
    assert (found - expected).abs().max() < 0.025


def test_captions_and_null_captions_stack_with_their_features():
    first, second = encode(["a"]), encode([""])
    joined = stack(first, second)
    assert joined.features is None
    assert joined.tokens.tolist() == [[1, 2, 0, 0, 0], [1, 0, 0, 0, 0]]
    features = [
        TextInput(t.tokens, t.text_mask, torch.ones(1, 5, 2) * i)
        for i, t in enumerate((first, second))
    ]
    assert stack(*features).features[:, 0, 0].tolist() == [0.0, 1.0]


def test_callback_gets_the_codes_and_the_mask_of_each_step(prior):
    seen = []
    codes = sample(prior, callback=lambda *state: seen.append([t.clone() for t in state]))
    expected = torch.from_numpy(codes.astype(np.int64))
    for position, (found, mask) in enumerate(seen):
        assert mask.tolist() == [[i > position for i in range(6)]] * 7
        assert (found[~mask] == expected[~mask]).all()
    assert len(seen) == 6


@pytest.mark.parametrize("temperature", [0, 1e-30])
@pytest.mark.parametrize("filters", [{}, {"top_k": 2, "top_p": 0.5}])
def test_temperature_0_takes_the_likeliest_codes(prior, temperature, filters):
    drawn = torch.from_numpy(sample(prior, temperature=temperature, **filters).astype(np.int64))
    logits = prior.logits(drawn, encode(NAMES))
    assert torch.equal(drawn, logits.argmax(-1))
    assert (sample(prior, temperature=temperature, seed=1) == drawn.numpy()).all()


def test_nan_logits_are_refused():
    broken = randomised(transformer())
    broken.head.weight.data[0, 0] = float("nan")
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"^prior: its logits are not numbers"):
            sample(broken, temperature=temperature)
