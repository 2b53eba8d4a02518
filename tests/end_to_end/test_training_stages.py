"""What the training stages train on, and which weights they save."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from stages import train_tokenizer
from tests.checkout import set_value, tiny_params
from tests.faults.stage import declared_params, run_stage
from tests.marks import needs_fast_bfloat16
from vqpriors.core.params import Params
from vqpriors.data.images import read_images, read_source
from vqpriors.judge.attributes.labels import attributes_of
from vqpriors.priors.cftn2.code_stem import CodeStem
from vqpriors.text.base.encoder import load_encoder
from vqpriors.tokenizer.base import compiled_nearest
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels
from vqpriors.tokenizer.base.loading import load_tokenizer
from vqpriors.tokenizer.base.reconstruction import psnr
from vqpriors.training.checkpoint import Progress
from vqpriors.training.loop import Trained
from vqpriors.training.session import TrainingTask

STAGES = {"train_tokenizer": "tokenizer", "train_judge": "judge", "train_prior": "prior"}
SPLITS = ("train", "validation")


def prepared(stage, **changes):
    """Return the training task of a stage."""
    params = tiny_params()
    for key, value in changes.items():
        set_value(params, key, value)
    return importlib.import_module(f"stages.{stage}").prepare(
        Params(declared_params(stage, params))
    )


def batches_of(task):
    """Return all examples of a task, by split, without augmentation."""
    parts = zip(SPLITS, (task.training, task.validation), strict=True)
    return {name: part.batch(torch.arange(len(part)), None) for name, part in parts}


@pytest.mark.parametrize("stage", ["train_tokenizer", "train_judge"])
def test_pictures_are_those_of_their_split(checkout, stage):
    task = prepared(stage)
    for split, batch in batches_of(task).items():
        images = read_images(checkout / "data/images", split)
        restored = ((batch["images"] + 1) * 127.5).round().to(torch.uint8).numpy()
        np.testing.assert_array_equal(restored, images.pixels)
        if stage == "train_judge":
            found = attributes_of(batch["labels"].numpy(), task.model.classes)
            known = [{name: row[name] for name in task.model.classes} for row in images.attributes]
            assert found == known


def test_codes_and_captions_are_those_of_their_split(checkout):
    encoder = load_encoder(checkout / "data/text")
    for split, batch in batches_of(prepared("train_prior")).items():
        files = sorted((checkout / "data/tokens").glob(f"{split}-*.parquet"))
        table = pd.concat(map(pd.read_parquet, files))
        np.testing.assert_array_equal(batch["codes"], np.stack(table["codes"].tolist()))
        expected = encoder.encode(table["caption"].tolist()).tokens
        np.testing.assert_array_equal(batch["text_tokens"], expected)


@torch.inference_mode()
def test_codes_are_those_of_the_pictures_with_the_same_id_and_caption(checkout):
    tokenizer, _ = load_tokenizer(checkout / "data/tokenizer", torch.device("cpu"))
    for split in (*SPLITS, "test"):
        images = read_images(checkout / "data/images", split)
        files = sorted((checkout / "data/tokens").glob(f"{split}-*.parquet"))
        table = pd.concat(map(pd.read_parquet, files))
        assert table["id"].tolist() == list(images.ids)
        assert table["caption"].tolist() == list(images.captions)
        codes = tokenizer.encode(torch.from_numpy(images.pixels) / 127.5 - 1)
        np.testing.assert_array_equal(np.stack(table["codes"].tolist()), codes)
        assert len(np.unique(codes)) > 2


@needs_fast_bfloat16
@pytest.mark.parametrize("wanted", [True, False])
def test_codes_are_searched_in_c_if_params_say_so(checkout, monkeypatch, wanted):
    files = sorted((checkout / "data/tokens").glob("*.parquet"))
    expected = pd.concat(map(pd.read_parquet, files))
    used, search = [], compiled_nearest.nearest
    monkeypatch.setattr(
        compiled_nearest, "nearest", lambda *given: used.append(len(given[0])) or search(*given)
    )
    params = tiny_params()
    set_value(params, "encode.compile", wanted)
    outcome = run_stage("encode", declared_params("encode", params), monkeypatch)
    assert outcome.code == 0, outcome.lines
    pd.testing.assert_frame_equal(pd.concat(map(pd.read_parquet, files)), expected)
    assert sum(used) == (expected["codes"].map(len).sum() if wanted else 0)


def test_pictures_too_small_to_measure_are_refused_before_training(checkout, monkeypatch):
    source = read_source(checkout / "data/images") | {"image_size": 8}
    monkeypatch.setattr(train_tokenizer, "read_source", lambda _: source)
    expected = r"^data\.digits\.image\.size: must be at least 11 .*, got 8$"
    with pytest.raises(ValueError, match=expected):
        prepared("train_tokenizer")


def test_captioner_gets_the_codebook_of_the_tokenizer(checkout):
    model = prepared("train_prior", **{"prior.arch": "cftn2"}).model
    tokenizer, spec = load_tokenizer(checkout / "data/tokenizer", torch.device("cpu"))
    width = model.code_stem.code_features.shape[1]
    expected = CodeStem(grid=spec.grid, num_codes=spec.codebook_size, width=width, depth=0)
    expected.set_codebook(tokenizer.codebook())
    assert expected.code_features.abs().sum() > 0
    torch.testing.assert_close(model.code_stem.code_features, expected.code_features)


def test_captions_are_dropped_in_training_only(checkout):
    for share in (0.0, 1.0):
        task = prepared("train_prior", **{"prior.caption_dropout": share})
        rows, generator = torch.arange(len(task.training)), torch.Generator().manual_seed(0)
        assert task.training.batch(rows, generator)["text_is_empty"].float().mean() == share
        assert not batches_of(task)["validation"]["text_is_empty"].any()


@pytest.mark.parametrize("arch", ["cftn", "cftn2"])
def test_examples_have_the_random_numbers_that_a_masked_prior_takes(checkout, arch):
    task = prepared("train_prior", **{"prior.arch": arch})
    assert task.model.num_draws > 0
    for batch in batches_of(task).values():
        assert batch["draws"].shape == (len(batch["codes"]), task.model.num_draws)


def test_only_training_pictures_of_the_judge_are_shifted(checkout):
    for shift in (0, 2):
        task = prepared("train_judge", **{"judge.attributes.shift": shift})
        rows, generator = torch.arange(len(task.training)), torch.Generator().manual_seed(0)
        shifted = task.training.batch(rows, generator)["images"]
        differs = (shifted != batches_of(task)["train"]["images"]).any()
        assert differs == (shift > 0)


def test_preview_completes_the_lower_half_of_validation_pictures(checkout):
    task = prepared("train_prior")
    batch = batches_of(task)["validation"]
    count = len(task.callback.codes)
    assert count == min(32, len(task.validation))
    np.testing.assert_array_equal(task.callback.codes, batch["codes"][:count])
    assert torch.equal(task.callback.text.tokens, batch["text_tokens"][:count])
    mask = task.callback.mask.view(task.callback.grid)
    assert mask.tolist() == [[row >= 3] * 7 for row in range(7)]


@pytest.fixture
def states(monkeypatch):
    """Replace training by random best and last weights, which are added to this list."""
    found = []

    def trained(task, session):
        for seed in (0, 1):
            generator = torch.Generator().manual_seed(seed)
            found.append(
                {
                    name: torch.randn(weight.shape, generator=generator)
                    if weight.is_floating_point()
                    else weight.clone()
                    for name, weight in task.model.state_dict().items()
                }
            )
        return Trained(*found, Progress(batch_size=8))

    monkeypatch.setattr(TrainingTask, "run", trained)
    return found


def run_without_error(stage, monkeypatch):
    outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
    assert outcome.code == 0, outcome.lines


@pytest.mark.parametrize("stage", STAGES)
def test_best_weights_are_saved_as_the_model_and_the_last_beside_them(
    checkout, monkeypatch, states, stage
):
    run_without_error(stage, monkeypatch)
    folder = checkout / "data" / STAGES[stage]
    for name, expected in zip(("model", "last"), states, strict=True):
        weights = load_file(folder / f"{name}.safetensors")
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], value) for key, value in expected.items()), name


def test_discriminator_is_not_saved_with_the_tokenizer(checkout, monkeypatch, states):
    params = tiny_params()
    phases = params["tokenizer"]["vqvae"]["phases"]
    next(iter(phases.values()))["options"] = {"sharpen": True}
    outcome = run_stage("train_tokenizer", declared_params("train_tokenizer", params), monkeypatch)
    assert outcome.code == 0, outcome.lines
    best, last = states
    saved = load_file(checkout / "data/tokenizer/model.safetensors")
    assert best.keys() - saved.keys() == {k for k in best if k.startswith("discriminator.")}
    assert len(best) > len(saved)
    assert load_file(checkout / "data/tokenizer/last.safetensors").keys() == last.keys()
    load_tokenizer(checkout / "data/tokenizer", torch.device("cpu"))


def metrics_of(checkout, stage):
    return json.loads((checkout / "metrics" / stage / "metrics.json").read_text())


def test_metrics_of_the_tokenizer_are_those_of_its_best_weights(checkout, monkeypatch, states):
    run_without_error("train_tokenizer", monkeypatch)
    model, _ = load_tokenizer(checkout / "data/tokenizer", torch.device("cpu"))
    settings = {"batch_size": 8, "precision": "no"}
    metrics = metrics_of(checkout, "train_tokenizer")
    for split in ("validation", "test"):
        pixels, measured = read_images(checkout / "data/images", split).pixels, []
        for weights in states:
            model.load_state_dict(weights)
            codes = encode_pixels(model, pixels, **settings)
            measured.append(psnr(pixels, decode_codes(model, codes, **settings)))
        assert abs(measured[0] - measured[1]) > 0.01
        assert metrics[split]["psnr"] == pytest.approx(measured[0], abs=1e-4)


def test_metrics_of_the_prior_are_those_of_its_best_weights(checkout, monkeypatch, states):
    task = prepared("train_prior")
    run_without_error("train_prior", monkeypatch)
    measured = []
    for weights in states:
        task.model.load_state_dict(weights)
        measured.append(task.callback(task.model.eval())["inpainting_psnr"])
    assert abs(measured[0] - measured[1]) > 0.01
    found = metrics_of(checkout, "train_prior")
    assert found["inpainting_psnr"] == pytest.approx(measured[0], abs=1e-4)
    names = {"parameters", "inpainting_psnr", "train_minutes", "peak_memory_gb"}
    assert found.keys() - {"step"} == names  # not the last points of the curves
