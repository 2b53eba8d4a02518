"""Contracts of quantizers, tokenizers, text encoders, priors, samplers and judges: every kind."""

import inspect
import json

import numpy as np
import pytest
import torch
import yaml
from torch.testing import assert_close

from tests.imports import ROOT
from tests.text.folders import FOLDERS, clip_folder
from tests.tiny import NO_TEXT, TEXT, captions, codes, ema, no_captions, prior_batch, vq_model
from vqpriors.core.artifact import save_model
from vqpriors.core.params import Section, check
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.images import ImageSet
from vqpriors.data.pixels import to_unit_range
from vqpriors.data.text_inputs import TextShape
from vqpriors.judge.base.judging import judge_pixels
from vqpriors.priors.base.loading import build_prior, describe_prior, load_prior
from vqpriors.sampling.base.choosing import choose_sampler
from vqpriors.sampling.base.sampler import KnownCodes, PictureRandom
from vqpriors.text.base.encoder import load_encoder, save_encoder
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels
from vqpriors.tokenizer.base.loading import (
    build_tokenizer,
    complete_description,
    describe_tokenizer,
)
from vqpriors.training.losses import weighted_sum
from vqpriors.training.phase_setup import set_options, set_train_mode

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
SMALL = {"width": 16, "depth": 2, "heads": 2, "text_depth": 1, "num_codes": 12, "dim": 3}
SMALL |= {"levels": [3, 4], "residual_width": 4, "vocabulary": 60, "max_length": 8}
SMALL |= {"text_width": 8, "embedding": 4, "dropout": 0.0, "latent_width": 3, "latent_depth": 1}
PACKAGES = {
    "vqpriors.quantizers": "tokenizer",
    "vqpriors.tokenizer": "tokenizer",
    "vqpriors.text": "text",
    "vqpriors.priors": "prior",
    "vqpriors.sampling": "sample",
    "vqpriors.judge": "judge",
}
CAPTIONS = ["a red three", "", "two green sevens and more than fit in the length"]


def load(package, kind, **changes):
    """Return a kind's module, and its config of params.yaml made small."""
    module = load_kind(package, kind, param="test")
    path = f"{PACKAGES[package]}.{kind}"
    values = PARAMS[PACKAGES[package]][kind]
    small = {key: (SMALL | changes).get(key, value) for key, value in values.items()}
    return module, check(path, small, module.Config)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """Params of a tokenizer that comes from elsewhere: here, from a folder."""
    folder = tmp_path_factory.mktemp("vq_model")
    vq_model(num_vq_embeddings=4).save_pretrained(folder / "vqvae")
    return {"location": str(folder), "subfolder": "vqvae"}


def of(package):
    return pytest.mark.parametrize("kind", kind_names(package))


@pytest.mark.parametrize(
    ("package", "kind"), [(package, kind) for package in PACKAGES for kind in kind_names(package)]
)
def test_kind_exports_a_config_and_build(package, kind):
    module, config = load(package, kind)
    assert issubclass(module.Config, Section)
    assert next(iter(inspect.signature(module.build).parameters)) == "config"
    assert type(config).__doc__
    assert module.__doc__


@of("vqpriors.quantizers")
def test_quantizer_keeps_its_contract(kind):
    torch.manual_seed(0)
    module, config = load("vqpriors.quantizers", kind)
    quantizer = module.build(config)
    vectors = torch.randn(64, quantizer.dim, requires_grad=True)
    quantized = quantizer(vectors)
    assert (quantized.vectors.shape, quantized.vectors.dtype) == (vectors.shape, torch.float32)
    assert (quantized.codes.shape, quantized.codes.dtype) == ((64,), torch.int64)
    assert 0 <= quantized.codes.min() <= quantized.codes.max() < quantizer.num_codes
    assert all(loss.shape == () for loss in quantized.losses.values())
    weights = torch.randn_like(quantized.vectors)
    (found,) = torch.autograd.grad((quantized.vectors * weights).sum(), vectors)
    (expected,) = torch.autograd.grad((quantizer.bound(vectors) * weights).sum(), vectors)
    assert_close(found, expected)  # straight through the rounding
    assert (found.abs().amax(1) > 1e-4).all()
    quantizer.eval()
    again = quantizer(vectors.detach())
    assert torch.equal(quantizer.encode(vectors.detach()), again.codes)
    assert_close(quantizer.decode(again.codes), again.vectors)
    every = torch.arange(quantizer.num_codes).view(2, -1)
    assert quantizer.decode(every).shape == (2, quantizer.num_codes // 2, quantizer.dim)
    restored = module.build(config)
    restored.load_state_dict(quantizer.state_dict())
    assert torch.equal(restored.eval().encode(vectors.detach()), again.codes)


@of("vqpriors.tokenizer")
def test_tokenizer_keeps_its_contract(kind, adopted):
    torch.manual_seed(0)
    module, config = load("vqpriors.tokenizer", kind, **adopted)
    model = module.build(config, image_size=8, channels=3, quantizer=ema())
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    losses = model.losses({"images": torch.rand(5, 3, 8, 8) * 2 - 1})
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    model.eval()
    found = encode_pixels(model, pixels, batch_size=2, precision="no")
    assert found.shape == (5, model.rows * model.columns)
    assert found.max() < model.num_codes == 4
    restored = decode_codes(model, found, batch_size=3, precision="no")
    assert (restored.shape, restored.dtype) == (pixels.shape, np.uint8)
    codebook = model.codebook()
    assert (len(codebook), codebook.ndim, codebook.dtype) == (4, 2, torch.float32)
    assert len(codebook.unique(dim=0)) > 1


@of("vqpriors.tokenizer")
def test_tokenizer_is_built_again_from_its_description(kind, adopted):
    _, config = load("vqpriors.tokenizer", kind, **adopted)
    _, quantizer = load("vqpriors.quantizers", "fsq")
    description = describe_tokenizer(
        arch=kind,
        config=config,
        quantizer="fsq",
        quantizer_config=quantizer,
        image_size=8,
        channels=3,
    )
    first = build_tokenizer(description).eval()
    second = build_tokenizer(complete_description(description, first)).eval()
    second.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(first.encode(images), second.encode(images))


@of("vqpriors.text")
def test_text_encoder_keeps_its_contract(kind, tmp_path):
    module, config = load("vqpriors.text", kind)
    if kind in FOLDERS:
        folder = FOLDERS[kind](tmp_path / "hub")
        config = config.model_copy(update={"location": str(folder)})
    encoder = module.build(config, captions=CAPTIONS[:2])
    shape, encoded = encoder.shape, encoder.encode(CAPTIONS)
    assert isinstance(shape, TextShape)
    assert encoded.tokens.shape == encoded.text_mask.shape == (3, shape.length)
    assert (encoded.tokens.dtype, encoded.text_mask.dtype) == (torch.int64, torch.bool)
    assert (encoded.features is None) == (shape.feature_width == 0)
    assert (encoded.tokens < max(shape.vocabulary, 1)).all()
    assert shape.length == 0 or encoded.text_mask[:, 0].all()
    save_encoder(tmp_path / "text", kind, encoder)
    loaded = load_encoder(tmp_path / "text")
    assert loaded.shape == shape
    again = loaded.encode(CAPTIONS)
    assert torch.equal(again.tokens, encoded.tokens)
    assert torch.equal(again.text_mask, encoded.text_mask)
    assert shape.feature_width == 0 or torch.equal(again.features, encoded.features)
    alone = encoder.encode(CAPTIONS[:1])
    assert torch.equal(alone.tokens[0], encoded.tokens[0])
    has_text = shape.length > 0
    assert loaded.decode(encoded.tokens[:2]) == (CAPTIONS[:2] if has_text else ["", ""])
    assert encoder.decode(torch.full((2, shape.length), encoder.pad)) == ["", ""]
    if has_text:
        junk = torch.randint(-1, shape.vocabulary + 1, (50, shape.length + 1))
        assert all(isinstance(caption, str) for caption in encoder.decode(junk))


def describe(kind, shape):
    _, config = load("vqpriors.priors", kind)
    return describe_prior(
        arch=kind,
        config=config,
        grid=(2, 3),
        codebook_size=7,
        text=shape,
        tokenizer="f" * 64,
        encoder="d" * 64,
    )


def prior_of(kind, shape):
    torch.manual_seed(0)
    return build_prior(describe(kind, shape))


FEATURES = TEXT._replace(feature_width=4)
FOUR = captions([2, 3], [], [4], [5, 6])
TEXTS = {"ids": (TEXT, FOUR), "none": (NO_TEXT, no_captions(4))}
TEXTS["features"] = (FEATURES, FOUR._replace(features=torch.ones(4, 5, 4)))
NEEDS_TEXT = ("cftn2",)
PRIORS_WITH_TEXTS = pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in kind_names("vqpriors.priors")
        for name in TEXTS
        if name != "none" or kind not in NEEDS_TEXT
    ],
)


@pytest.mark.parametrize("kind", NEEDS_TEXT)
def test_prior_that_needs_captions_refuses_an_encoder_without_text(kind):
    with pytest.raises(ValueError, match=r"^text\.encoder: "):
        prior_of(kind, NO_TEXT)


@PRIORS_WITH_TEXTS
def test_prior_keeps_its_contract(kind, name):
    shape, condition = TEXTS[name]
    prior, drawn = prior_of(kind, shape), codes(4)
    losses = prior.losses(prior_batch(prior, drawn, condition))
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in prior.parameters())  # else DDP would wait for it
    measured = getattr(prior, "measured", {})
    assert all(value.shape == () and not value.requires_grad for value in measured.values())
    assert not measured.keys() & losses.keys()
    assert prior.length == 6
    assert choose_sampler("auto", prior.primitive) in kind_names("vqpriors.sampling")
    assert isinstance(prior.is_exact, bool)
    assert isinstance(prior.is_captioner, bool)
    for name in ("set_codebook", "start_caption", "caption_logits"):
        assert prior.is_captioner == callable(getattr(prior, name, None))
    assert any(getattr(module, "uses_adamw", False) for module in prior.modules())
    prior.eval()
    noise = torch.rand(2, 4, 7)
    first, second = (prior.nats(drawn, condition, part) for part in noise)
    assert (first.shape, first.dtype) == ((4,), torch.float32)
    assert (first > 0).all()
    assert torch.equal(first, second) == prior.is_exact
    mask = torch.arange(6) >= 3
    filled = prior.fill(drawn, mask, condition)
    assert (filled.shape, filled.dtype) == ((4, 6), torch.int64)
    assert torch.equal(filled[:, :3], drawn[:, :3])
    assert 0 <= filled.min() <= filled.max() < 7


@PRIORS_WITH_TEXTS
def test_prior_draws_with_the_sampler_that_it_names(kind, name):
    shape, condition = TEXTS[name]
    prior = prior_of(kind, shape).eval()
    module, config = load("vqpriors.sampling", choose_sampler("auto", prior.primitive))
    null = condition.select(torch.ones(4).long())
    known = KnownCodes(codes(4), torch.arange(6).expand(4, 6) < 2)

    def draw(guidance, known=None):
        random = PictureRandom(range(4), seed=0, device=torch.device("cpu"))
        settings = {"guidance": guidance, "steps": 3, "random": random, "known": known}
        return module.build(config)(prior, condition, null, **settings)

    for guidance in (1.0, 2.0):
        drawn = draw(guidance)
        assert (drawn.shape, drawn.dtype) == ((4, 6), torch.int64)
        assert 0 <= drawn.min() <= drawn.max() < 7
        assert torch.equal(draw(guidance), drawn)
        completed = draw(guidance, known)
        assert torch.equal(completed[:, :2], known.codes[:, :2])
        assert 0 <= completed.min() <= completed.max() < 7


@of("vqpriors.priors")
def test_phases_of_params_fit_their_prior(kind):
    prior, phases = prior_of(kind, TEXT), load("vqpriors.priors", kind)[1].phases
    batch = prior_batch(prior, codes(20), captions(*[[2, 3]] * 20))
    for part in phases.values():
        set_options(prior, part.options)
        set_train_mode(prior, part.frozen)
        assert weighted_sum(prior.losses(batch), part.weights_at(1.0)).isfinite()


@of("vqpriors.sampling")
def test_sampler_has_a_temperature(kind):
    module, config = load("vqpriors.sampling", kind)
    assert isinstance(module.HAS_STEPS, bool)
    assert "completion" in module.EDITS
    assert config.temperature > 0
    assert "temperature" in module.TEMPERATURES
    built = module.build(config.model_copy(update=dict.fromkeys(module.TEMPERATURES, 0.5)))
    assert callable(built)
    priors = [prior_of(name, TEXT) for name in kind_names("vqpriors.priors")]
    fitting = [prior for prior in priors if prior.primitive == module.PRIMITIVE]
    assert {built.temperature_for(prior, 1) for prior in fitting} == {0.5}


@of("vqpriors.priors")
def test_prior_of_another_tokenizer_or_encoder_is_refused(kind, tmp_path):
    folder, cpu = tmp_path / "prior", torch.device("cpu")
    description = describe(kind, TEXT)
    prior = build_prior(description)
    save_model(folder, config=description, weights=prior.state_dict())
    loaded = load_prior(folder, cpu, tokenizer="f" * 64, encoder="d" * 64)
    condition = captions([2], [3])
    noise = torch.rand(2, 7)
    expected = prior.eval().requires_grad_(False).nats(codes(2), condition, noise)
    assert torch.equal(loaded.nats(codes(2), condition, noise), expected)
    with pytest.raises(ValueError, match="with tokenizer ffffffffffff, not with eeeeeeeeeeee"):
        load_prior(folder, cpu, tokenizer="e" * 64, encoder="d" * 64)
    with pytest.raises(ValueError, match="with encoder dddddddddddd, not with eeeeeeeeeeee"):
        load_prior(folder, cpu, tokenizer="f" * 64, encoder="e" * 64)


@of("vqpriors.judge")
def test_judge_learns_from_its_targets_and_is_built_again(kind, tmp_path):
    generator = np.random.default_rng(0)
    images = ImageSet(
        ids=list("abcd"),
        groups=list("abcd"),
        pixels=generator.integers(256, size=(4, 3, 16, 16), dtype=np.uint8),
        captions=["a red one", "a blue one", "a red two", "a blue two"],
        labels=[None] * 4,
        attributes=[{"digit": d, "color": c} for d in ("one", "two") for c in ("red", "blue")],
    )
    changes = {"width": 8}
    if kind == "clip":
        changes["location"] = str(clip_folder(tmp_path / "clip", has_vision=True))
    module, config = load("vqpriors.judge", kind, **changes)
    assert module.can_judge(images)
    judge = module.build(config, training=images)
    pixels = torch.from_numpy(images.pixels)
    batch = {"images": to_unit_range(pixels), **module.targets(judge, images)}
    assert all(len(value) == 4 for value in batch.values())
    loss = weighted_sum(judge.losses(batch), {})
    loss.backward()
    assert loss > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())
    again = module.restore(json.loads(json.dumps(judge.settings)))
    again.load_state_dict(judge.state_dict())
    found, one = judge_pixels(judge, images.pixels), judge_pixels(again, images.pixels[2:3])
    np.testing.assert_allclose(found.features[2:3], one.features, atol=1e-5)
    assert found.labels.shape == (4, len(judge.classes))
    assert found.shape_features.shape == (4, judge.num_shape_features)
    if judge.is_matcher:
        scores = judge.match(torch.from_numpy(found.features), ["a red one", ""])
        assert scores.shape == (4, 2)
        assert scores.isfinite().all()
