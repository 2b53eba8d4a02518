"""Each preset gives a configuration that every stage accepts, and models that can be built."""

import shutil

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from stages.encode import EncodeConfig
from stages.evaluate import EvaluateConfig
from stages.painter import SampleConfig
from tests.imports import ROOT
from vqpriors import priors, tokenizer
from vqpriors.conditioning import TextShape
from vqpriors.evaluation.judge import JudgeConfig
from vqpriors.images._prepare import Decoding, Recipe, section_path
from vqpriors.params import Params
from vqpriors.plugins import kind_names, load_kind
from vqpriors.training.optimisation import TrainConfig

PRESETS = sorted(path.name for path in (ROOT / "presets").iterdir())
GRIDS = {
    "mnist": (7, 7),
    "fashion_mnist": (7, 7),
    "emoji": (32, 32),
    "naruto": (32, 32),
    "folder": (8, 8),
}


def words(preset):
    """Return a preset as the shell splits `$(cat presets/NAME)`."""
    return (ROOT / "presets" / preset).read_text().split()


@pytest.fixture(params=PRESETS)
def preset(request, tmp_path):
    """A preset's name, and params.yaml after DVC has applied it; a key that is not there fails."""
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
    assert found[1] == f"data.name={name}"


def test_every_stage_accepts_it(preset):
    _, params = preset
    data = section_path(params)
    params.section(data, Recipe)
    params.section("data.decoding", Decoding)
    params.kind(f"{data}.source", "vqpriors.images")
    params.kind("text.encoder", "vqpriors.text")
    params.section("encode", EncodeConfig)
    params.section("judge.network", JudgeConfig)
    for stage in ("tokenizer", "judge", "prior"):
        params.section(f"{stage}.train", TrainConfig)
    samplers = kind_names("vqpriors.sampling")
    params.section("sample", SampleConfig, besides=samplers)
    for name in samplers:
        module = load_kind("vqpriors.sampling", name, param="sample")
        params.section(f"sample.{name}", module.Config)
    params.section("evaluate", EvaluateConfig)


def test_its_models_can_be_built(preset):
    name, params = preset
    recipe = params.section(section_path(params), Recipe)
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    model = tokenizer.build(
        tokenizer.describe(
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
        description = priors.describe(
            arch=prior,
            config=params.section(f"prior.{prior}", module.Config),
            grid=GRIDS[name],
            codebook_size=model.num_codes,
            text=TextShape(length=32, vocabulary=1024, feature_width=0),
            tokenizer="",
            encoder="",
        )
        assert sum(p.numel() for p in priors.build(description).parameters()) > 0
