"""A pretrained VQModel: agreement with diffusers, saving and loading, refused models."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import ema, phase, runtime_config, train_config, vq_model
from vqpriors.core.artifact import save_model
from vqpriors.core.params import check
from vqpriors.quantizers.ema import Config as EmaConfig
from vqpriors.tokenizer import pretrained
from vqpriors.tokenizer.base.loading import (
    build_tokenizer,
    complete_description,
    describe_tokenizer,
    load_tokenizer,
)
from vqpriors.tokenizer.pretrained import Config, build
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.loop import train

LOCATION = "tokenizer.pretrained.location"
EMA = {"num_codes": 4, "dim": 2, "decay": 0.9, "is_normalised": False}
EMA |= {"commitment": 0.25, "dead_code_threshold": 0.05}


@pytest.fixture
def folder(tmp_path):
    """A model saved by diffusers in the subfolder `vqvae`: 16 codes of 3 channels."""
    vq_model().save_pretrained(tmp_path / "model" / "vqvae")
    return tmp_path / "model"


def config(folder, **changes):
    settings = {"location": str(folder), "revision": "main", "subfolder": "vqvae"}
    settings |= {"value_range": [-1.0, 1.0], "phases": {}}
    return check("tokenizer.pretrained", settings | changes, Config)


def adopt(folder, *, image_size=8, channels=3, **changes):
    settings = config(folder, **changes)
    return build(settings, image_size=image_size, channels=channels, quantizer=ema()).eval()


def images(count=5, *, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def refused(folder, **changes):
    with pytest.raises(ValueError, match=r"\A[^\n]+; [^\n]+\Z") as caught:
        adopt(folder, **changes)
    return str(caught.value)


def edit_config(folder, **changes):
    path = folder / "vqvae/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@torch.no_grad()
def test_codes_and_pictures_are_those_of_diffusers(folder):
    model, original, given = adopt(folder), vq_model(), images()
    codes = model.encode(given)
    vectors = original.encode(given).latents
    assert (model.rows, model.columns, model.num_codes) == (4, 4, 16)
    assert (codes.shape, codes.dtype) == ((5, 16), torch.int64)
    assert torch.equal(codes.flatten(), original.quantize(vectors)[2][2])
    assert codes.unique().numel() > 4
    restored = model.decode(codes)
    assert restored.abs().max() > 0.1
    assert_close(restored, original(given).sample.clamp(-1, 1))


@torch.no_grad()
def test_codes_are_in_raster_order(folder):
    model, given = adopt(folder), images(1)
    vectors = vq_model().encode(given).latents[0]  # (D, h, w)
    book = model.network.quantize.embedding.weight
    nearest = [
        (book - vectors[:, row, column]).square().sum(1).argmin().item()
        for row in range(4)
        for column in range(4)
    ]
    assert model.encode(given)[0].tolist() == nearest


@torch.no_grad()
def test_model_with_lookup_from_codebook_decodes_alike(folder):
    expected = adopt(folder).decode(adopt(folder).encode(images()))
    edit_config(folder, lookup_from_codebook=True)
    model = adopt(folder)
    assert torch.equal(model.decode(model.encode(images())), expected)


@torch.no_grad()
def test_pixels_are_mapped_to_the_range_of_the_model(folder):
    model, original, given = adopt(folder, value_range=[0.0, 1.0]), vq_model(), images()
    vectors = original.encode((given + 1) / 2).latents
    codes = model.encode(given)
    assert torch.equal(codes.flatten(), original.quantize(vectors)[2][2])
    expected = (original.decode(vectors).sample * 2 - 1).clamp(-1, 1)
    assert_close(model.decode(codes), expected)


@torch.no_grad()
def test_quantizer_computes_in_float32_under_autocast(folder):
    model, seen = adopt(folder), []
    model.network.quantize.register_forward_hook(lambda _, given, __: seen.append(given[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = model.encode(images())
        restored = model.decode(codes)
    assert seen == [torch.float32]
    assert restored.dtype == torch.float32
    assert (codes == model.encode(images())).float().mean() > 0.9


@torch.no_grad()
def test_float16_is_disabled_if_the_model_would_overflow(folder):
    edit_config(folder, force_upcast=True)
    model = adopt(folder)
    expected = model.decode(model.encode(images()))
    with torch.autocast("cpu", dtype=torch.float16):
        assert torch.equal(model.decode(model.encode(images())), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(model.decode(model.encode(images())), expected)


@torch.no_grad()
def test_codes_do_not_depend_on_the_chunk_size(folder, monkeypatch):
    model = adopt(folder)
    expected = model.encode(images())
    monkeypatch.setattr(pretrained, "CHUNK", 32)  # two pictures
    assert torch.equal(model.encode(images()), expected)


@torch.no_grad()
def test_saved_tokenizer_loads_without_the_source(folder, tmp_path):
    description = describe_tokenizer(
        arch="pretrained",
        config=config(folder),
        quantizer="ema",
        quantizer_config=check("tokenizer.ema", EMA, EmaConfig),
        image_size=8,
        channels=3,
    )
    model = build_tokenizer(description).eval()
    artifact = tmp_path / "tokenizer"
    complete = complete_description(description, model)
    save_model(artifact, config=complete, weights=model.state_dict())
    shutil.rmtree(folder)
    loaded, spec = load_tokenizer(artifact, torch.device("cpu"))
    assert (spec.rows, spec.columns, spec.codebook_size) == (4, 4, 16)
    codes = model.encode(images())
    assert torch.equal(loaded.encode(images()), codes)
    assert_close(loaded.decode(codes), model.decode(codes))


def test_training_starts_from_the_pretrained_weights(folder, tmp_path):
    model, start = adopt(folder), vq_model()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8)
    trained = train(
        model,
        phases={"main": phase(epochs=8, frozen=["network.encoder"])},
        config=train_config(),
        runtime=runtime_config(),
        training=ImageExamples(pixels),
        validation=ImageExamples(pixels),
        seed=0,
        folder=tmp_path / "run",
        log=lambda step, values: None,
    )
    history = [v["validation/loss"] for _, v in trained.progress.history if "validation/loss" in v]
    assert history[-1] < history[0]
    for name, weight in start.state_dict().items():
        is_kept = torch.equal(trained.last[f"network.{name}"], weight)
        assert is_kept == name.startswith("encoder."), name


def test_losses_are_those_of_diffusers(folder):
    found = adopt(folder).train().losses({"images": images()})
    restored = vq_model().train()(images())
    assert_close(found["reconstruction"], (restored.sample - images()).square().mean())
    assert_close(found["commitment"], restored.commit_loss)


def test_pictures_of_other_channels_are_refused(folder):
    line = refused(folder, channels=1)
    assert line.startswith(f"{LOCATION}: '{folder}' ")
    assert "in_channels=3" in line
    assert "pictures have 1" in line


def test_model_with_unequal_input_and_output_channels_is_refused(tmp_path):
    vq_model(out_channels=4).save_pretrained(tmp_path)
    assert "in_channels=3 and out_channels=4" in refused(tmp_path, subfolder=None)


def test_image_size_not_divisible_by_the_stride_is_refused(folder):
    assert "2 x 2 pixels, which does not divide 9 px" in refused(folder, image_size=9)


def test_codebook_beyond_uint16_is_refused(tmp_path):
    vq_model(num_vq_embeddings=65537).save_pretrained(tmp_path)
    assert "has 65537 codes, but at most 65536" in refused(tmp_path, subfolder=None)
    vq_model(num_vq_embeddings=65536).save_pretrained(tmp_path)
    assert adopt(tmp_path, subfolder=None).num_codes == 65536


def test_folder_without_a_model_is_refused(folder):
    assert f"{LOCATION}: '{folder}' has no config.json at its top level" in refused(
        folder, subfolder=None
    )
    assert "has no config.json in 'vae'" in refused(folder, subfolder="vae")


@pytest.mark.parametrize("text", ["", "[]", "{}", "7"])
def test_malformed_config_is_refused(folder, text):
    (folder / "vqvae/config.json").write_text(text)
    assert "a config.json in 'vqvae' that names no class" in refused(folder)


def test_another_model_is_refused(folder):
    edit_config(folder, _class_name="AutoencoderKL")
    assert "holds a AutoencoderKL in 'vqvae'; choose a VQModel" in refused(folder)


def test_pickled_weights_are_refused(folder, capfd):
    weights = folder / "vqvae/diffusion_pytorch_model.safetensors"
    torch.save(vq_model().state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    assert "has no diffusion_pytorch_model.safetensors in 'vqvae'" in refused(folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"garbage " * 100])
def test_malformed_weights_are_refused(folder, capfd, content):
    (folder / "vqvae/diffusion_pytorch_model.safetensors").write_bytes(content)
    assert "can't be loaded (" in refused(folder)
    assert capfd.readouterr().err == ""


def test_weights_of_another_shape_or_too_few_are_refused(folder, capfd):
    edit_config(folder, num_vq_embeddings=17)
    assert "can't be loaded (" in refused(folder)
    edit_config(folder, num_vq_embeddings=16, layers_per_block=2)
    assert "has no weights for '" in refused(folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("someone/some-model", "could not reach the Hub for 'someone/some-model'"),
        ("no/such/folder", "no folder 'no/such/folder', and it is not a Hub id either"),
    ],
)
def test_missing_location_is_named(location, problem, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refused(location).startswith(f"{LOCATION}: {problem}")


@pytest.mark.parametrize("bad", [[1.0, 1.0], [1.0, 0.0]])
def test_empty_value_range_is_refused(folder, bad):
    with pytest.raises(ValueError, match=r"pretrained\.value_range: must be"):
        config(folder, value_range=bad)
