"""What the training stages train on, and which weights they save."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.checkout import copy_unlocked, set_value, tiny_params
from tests.faults.stage import declared_params, run_stage
from vqpriors.core.params import Params
from vqpriors.data.images import read_images
from vqpriors.judge.attributes.labels import attributes_of
from vqpriors.priors.cftn2.code_stem import CodeStem
from vqpriors.text.base.encoder import load_encoder
from vqpriors.tokenizer.base.loading import load_tokenizer
from vqpriors.training.checkpoint import Progress
from vqpriors.training.loop import Trained
from vqpriors.training.session import TrainingTask

STAGES = {"train_tokenizer": "tokenizer", "train_judge": "judge", "train_prior": "prior"}
SPLITS = ("train", "validation")


@pytest.fixture
def checkout(reproduced, tmp_path, monkeypatch):
    folder = copy_unlocked(reproduced.folder, tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


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


def test_captioner_gets_the_codebook_of_the_tokenizer(checkout):
    model = prepared("train_prior", **{"prior.arch": "cftn2"}).model
    tokenizer, spec = load_tokenizer(checkout / "data/tokenizer", torch.device("cpu"))
    width = model.code_stem.code_features.shape[1]
    expected = CodeStem(grid=spec.grid, num_codes=spec.codebook_size, width=width, depth=0)
    expected.set_codebook(tokenizer.codebook())
    assert expected.code_features.abs().sum() > 0
    torch.testing.assert_close(model.code_stem.code_features, expected.code_features)


@pytest.mark.parametrize("stage", STAGES)
def test_best_weights_are_saved_as_the_model_and_the_last_beside_them(checkout, monkeypatch, stage):
    def trained(task, session):
        """Stand in for a training whose best and last weights differ."""
        best, last = (
            {
                name: torch.full(weight.shape, value, dtype=weight.dtype)
                for name, weight in task.model.state_dict().items()
            }
            for value in (1, 0)
        )
        return Trained(best, last, Progress(batch_size=8))

    monkeypatch.setattr(TrainingTask, "run", trained)
    outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
    assert outcome.code == 0, outcome.lines
    folder = checkout / "data" / STAGES[stage]
    for name, value in (("model", 1), ("last", 0)):
        weights = load_file(folder / f"{name}.safetensors")
        assert all((weight == value).all() for weight in weights.values()), name
