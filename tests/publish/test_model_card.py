"""The model card: what it says, where it gets that from, and what it leaves out."""

import json

import pytest
import yaml
from dvc.utils.serialize import dump_yaml

from tests.parts import make_parts
from vqpriors.inference.bundle import CARD, SETTINGS
from vqpriors.inference.generator import Generator
from vqpriors.publish.model_card import UNKNOWN, Origin, read_origin

METRICS = {"frechet_distance": 1.25, "num_samples": 24, "kernel_distance": float("nan")}
MEASURED = Origin(data="digits", metrics={"frechet_distance": 1.25, "num_samples": 24})


@pytest.fixture
def checkout(tmp_path):
    """Parts as a checkout has them, with metrics and no dvc.lock."""
    make_parts(tmp_path / "data", "transformer")
    (tmp_path / "metrics/evaluate").mkdir(parents=True)
    (tmp_path / "metrics/evaluate/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def card_of(folder, target):
    """Return the metadata and the text of the card that is saved with a folder's parts."""
    Generator.load(folder).save(target)
    _, head, text = (target / CARD).read_text().split("---\n", 2)
    return yaml.safe_load(head), text


def test_card_tells_what_draws_how_and_how_well(checkout, tmp_path):
    metadata, text = card_of(checkout / "data", tmp_path / "my-digits")
    assert metadata == {
        "license": "mit",
        "library_name": "vqpriors",
        "pipeline_tag": "text-to-image",
        "tags": ["vqpriors", "vector-quantization", "transformer"],
    }
    rows = dict(line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| "))
    assert rows["prior"].startswith("`transformer`, ")
    assert rows["tokenizer"].startswith("`vqvae` with `ema`, ")
    assert rows["codes"] == "2 x 2 of a codebook of 16"
    assert rows["picture"] == "8 x 8 px, RGB"
    assert rows["text encoder"] == "`wordpiece`, captions of up to 4 tokens"
    assert rows["trained on"] == "`digits`"
    assert rows["`frechet_distance`"] == "1.25"
    assert "`kernel_distance`" not in rows
    assert "\n# my-digits\n" in text
    assert 'generator = Generator.load("my-digits")' in text
    assert "python -m vqpriors generate --from my-digits --prompt" in text
    assert '"guidance": 2.0' in text
    assert "test split of `digits`" in text
    assert str(tmp_path) not in text


def test_card_of_a_generator_without_text_asks_for_none(tmp_path):
    make_parts(tmp_path / "data", "transformer", text__encoder="none")
    metadata, text = card_of(tmp_path / "data", tmp_path / "saved")
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    assert "captions" not in text.split("## Draw")[0]
    assert 'generator("", num_samples=4)' in text
    assert "## Numbers" not in text


def test_what_is_known_goes_on_with_what_is_saved(checkout, tmp_path):
    Generator.load(checkout / "data").save(tmp_path / "first")
    Generator.load(tmp_path / "first").save(tmp_path / "second")
    assert read_origin(tmp_path / "second") == MEASURED
    cards = [(tmp_path / name / CARD).read_text() for name in ("first", "second")]
    assert cards[0].replace("first", "second") == cards[1]


def test_folder_saved_before_there_were_cards_tells_nothing(checkout, tmp_path):
    generator = Generator.load(checkout / "data")
    generator.save(tmp_path / "saved")
    old = {"sample": generator.sample_settings()}
    (tmp_path / "saved" / SETTINGS).write_text(json.dumps(old))
    assert read_origin(tmp_path / "saved") == UNKNOWN


LOCK = {
    "download": {"params": {"params.yaml": {"data.name": "digits"}}},
    "train_prior": {"outs": [{"path": "data/prior", "md5": "1.dir"}]},
    "sample": {"params": {"params.yaml": {"sample.guidance": 2.0}}},
    "evaluate": {"deps": [{"path": "data/prior", "md5": "1.dir"}, {"path": "x.py", "md5": "2"}]},
}
CHANGED = {
    "another data set": ("download", {"params": {"params.yaml": {"data.name": "mnist"}}}),
    "another prior": ("train_prior", {"outs": [{"path": "data/prior", "md5": "3.dir"}]}),
    "another setting": ("sample", {"params": {"params.yaml": {"sample.guidance": 3.0}}}),
    "a param that is gone": ("sample", {"params": {"params.yaml": {"gone.at.all": 3.0}}}),
}


def test_numbers_are_told_of_what_was_measured(checkout):
    assert read_origin(checkout / "data") == MEASURED
    dump_yaml(str(checkout / "dvc.lock"), {"schema": "2.0", "stages": LOCK})
    assert read_origin(checkout / "data") == MEASURED


@pytest.mark.parametrize("change", CHANGED)
def test_numbers_of_anything_else_are_not_told(checkout, change):
    stage, values = CHANGED[change]
    dump_yaml(str(checkout / "dvc.lock"), {"schema": "2.0", "stages": LOCK | {stage: values}})
    assert read_origin(checkout / "data") == UNKNOWN


def test_parts_that_were_never_measured_have_no_numbers(checkout):
    stages = {name: stage for name, stage in LOCK.items() if name != "evaluate"}
    dump_yaml(str(checkout / "dvc.lock"), {"schema": "2.0", "stages": stages})
    assert read_origin(checkout / "data") == UNKNOWN
