"""Each preset gives a configuration that every stage accepts, and models that can be built."""

import re
import shutil

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from stages.encode import EncodeConfig
from stages.evaluate import EvaluateConfig
from tests.imports import ROOT
from vqpriors.core.params import Params
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.text_inputs import TextShape
from vqpriors.inference.stage_sampler import SampleConfig
from vqpriors.priors.base.loading import build_prior, describe_prior
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, section_path
from vqpriors.tokenizer.base.loading import build_tokenizer, describe_tokenizer
from vqpriors.training.config import read_train_config

PRESETS = sorted(path.name for path in (ROOT / "presets").iterdir())
GRIDS = {
    "mnist": (7, 7),
    "fashion_mnist": (7, 7),
    "emoji": (32, 32),
    "emoji_laptop": (16, 16),
    "naruto": (32, 32),
    "folder": (8, 8),
}


def words(preset):
    """Return a preset as the shell splits `$(cat presets/NAME)`."""
    return (ROOT / "presets" / preset).read_text().split()


@pytest.fixture(params=PRESETS)
def preset(request, tmp_path):
    """A preset's name, and params.yaml after DVC has applied it; an unknown key is an error."""
    copy = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", copy)
    apply_overrides(str(copy), words(request.param)[1::2])
    return request.param, Params(load_yaml(str(copy)))


@pytest.mark.parametrize("name", PRESETS)
def test_each_line_sets_one_key(name):
    found = words(name)
    assert set(found[::2]) == {"-S"}
    keys = [word.partition("=")[0] for word in found[1::2]]
    assert len(set(keys)) == len(keys)
    assert found[1] == f"data.name={name.removesuffix('_laptop')}"


def test_sets_of_the_hub_are_pinned_to_commits():
    data = load_yaml(str(ROOT / "params.yaml"))["data"]
    sets = {
        name: each["hub"] for name, each in data.items() if isinstance(each, dict) and "hub" in each
    }
    assert sets.keys() == {"mnist", "fashion_mnist", "emoji", "naruto"}
    for name, config in sets.items():
        assert re.fullmatch("[0-9a-f]{40}", config["revision"]), name
        assert re.fullmatch("[a-z-]+/[a-z_-]+", config["location"]), name


def test_every_stage_accepts_the_preset(preset):
    _, params = preset
    data = section_path(params)
    params.section(data, DatasetConfig)
    params.section("data.decoding", DecodingConfig)
    params.kind(f"{data}.source", "vqpriors.sources")
    params.kind("text.encoder", "vqpriors.text")
    params.section("encode", EncodeConfig)
    for name in kind_names("vqpriors.judge"):
        module = load_kind("vqpriors.judge", name, param="judge.kind")
        params.section(f"judge.{name}", module.Config)
    for stage in ("tokenizer", "judge", "prior"):
        read_train_config(params, f"{stage}.train")
    samplers = kind_names("vqpriors.sampling")
    params.section("sample", SampleConfig, besides=samplers)
    for name in samplers:
        module = load_kind("vqpriors.sampling", name, param="sample")
        params.section(f"sample.{name}", module.Config)
    params.section("evaluate", EvaluateConfig)


def test_models_of_the_preset_can_be_built(preset):
    name, params = preset
    recipe = params.section(section_path(params), DatasetConfig)
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    model = build_tokenizer(
        describe_tokenizer(
            arch=arch.name,
            config=arch.config,
            quantizer=quantizer.name,
            quantizer_config=quantizer.config,
            image_size=recipe.image.size,
            channels=recipe.image.channels,
        )
    )
    assert (model.rows, model.columns) == GRIDS[name]
    for prior in kind_names("vqpriors.priors"):
        module = load_kind("vqpriors.priors", prior, param="prior.arch")
        description = describe_prior(
            arch=prior,
            config=params.section(f"prior.{prior}", module.Config),
            grid=GRIDS[name],
            codebook_size=model.num_codes,
            text=TextShape(length=32, vocabulary=1024, feature_width=0),
            tokenizer="",
            encoder="",
        )
        assert sum(p.numel() for p in build_prior(description).parameters()) > 0
