"""The model card: its contents and the provenance of its metrics."""

import json

import pytest
import yaml
from dvc.utils.serialize import dump_yaml

from tests.parts import make_parts
from vqpriors.inference.bundle import CARD, PARTS, SETTINGS
from vqpriors.inference.generator import Generator
from vqpriors.inference.settings import settings_as_params
from vqpriors.publish.integrity import dvc_digest
from vqpriors.publish.model_card import UNKNOWN, Provenance, read_provenance

METRICS = {
    "frechet_distance": 1.25,
    "num_samples": 24,
    "kernel_distance": float("nan"),
    "adherence_worst_class": "eight",
}
MEASURED = Provenance(
    data="digits",
    split="test",
    metrics={"frechet_distance": 1.25, "num_samples": 24, "adherence_worst_class": "eight"},
)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with parts and metrics, without dvc.lock."""
    make_parts(tmp_path / "data", "transformer")
    (tmp_path / "metrics/evaluate").mkdir(parents=True)
    (tmp_path / "metrics/evaluate/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def card_of(folder, target):
    """Save a folder's parts and return the metadata and the text of the card."""
    Generator.load(folder).save(target)
    _, head, text = (target / CARD).read_text().split("---\n", 2)
    return yaml.safe_load(head), text


def test_card_has_description_usage_and_metrics(checkout, tmp_path):
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
    assert rows["`adherence_worst_class`"] == "eight"
    assert "`kernel_distance`" not in rows
    assert "\n# my-digits\n" in text
    assert 'generator = Generator.load("my-digits")' in text
    assert "python -m vqpriors generate --from my-digits --prompt" in text
    assert '"guidance": 2.0' in text
    assert "test split of `digits`" in text
    assert str(tmp_path) not in text


def test_card_of_a_generator_without_text_has_no_prompt(tmp_path):
    make_parts(tmp_path / "data", "transformer", text__encoder="none")
    metadata, text = card_of(tmp_path / "data", tmp_path / "saved")
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    assert "captions" not in text.split("## Draw")[0]
    assert 'generator("", num_samples=4)' in text
    assert "## Metrics" not in text


def test_provenance_is_saved_with_the_parts(checkout, tmp_path):
    Generator.load(checkout / "data").save(tmp_path / "first")
    Generator.load(tmp_path / "first").save(tmp_path / "second")
    assert read_provenance(tmp_path / "second") == MEASURED
    cards = [(tmp_path / name / CARD).read_text() for name in ("first", "second")]
    assert cards[0].replace("first", "second") == cards[1]


def test_folder_saved_without_provenance_has_none(checkout, tmp_path):
    generator = Generator.load(checkout / "data")
    generator.save(tmp_path / "saved")
    old = {"sample": settings_as_params(generator.defaults, generator.sampler)}
    (tmp_path / "saved" / SETTINGS).write_text(json.dumps(old))
    assert read_provenance(tmp_path / "saved") == UNKNOWN


def lock_of(checkout, changes):
    """Write the lock file of a checkout whose parts have been evaluated, with changed stages."""
    outs = [{"path": f"data/{part}", "md5": dvc_digest(checkout / "data" / part)} for part in PARTS]
    stages = {
        "download": {"params": {"params.yaml": {"data.name": "digits"}}},
        "train_tokenizer": {"outs": outs[:1]},
        "prepare_text": {"outs": outs[1:2]},
        "train_prior": {"outs": outs[2:]},
        "sample": {"params": {"params.yaml": {"sample.guidance": 2.0}}},
        "evaluate": {"deps": [*outs, {"path": "x.py", "md5": "2"}]},
    }
    stages = {name: each for name, each in (stages | changes).items() if each is not None}
    dump_yaml(str(checkout / "dvc.lock"), {"schema": "2.0", "stages": stages})


CHANGED = {
    "another data set": ("download", {"params": {"params.yaml": {"data.name": "mnist"}}}),
    "another prior": ("train_prior", {"outs": [{"path": "data/prior", "md5": "3.dir"}]}),
    "another setting": ("sample", {"params": {"params.yaml": {"sample.guidance": 3.0}}}),
    "a param that is gone": ("sample", {"params": {"params.yaml": {"gone.at.all": 3.0}}}),
}


def test_metrics_are_known_for_the_evaluated_parts(checkout):
    assert read_provenance(checkout / "data") == MEASURED
    lock_of(checkout, {})
    assert read_provenance(checkout / "data") == MEASURED


@pytest.mark.parametrize("change", CHANGED)
def test_metrics_are_unknown_after_a_change(checkout, change):
    stage, values = CHANGED[change]
    lock_of(checkout, {stage: values})
    assert read_provenance(checkout / "data") == UNKNOWN


def test_metrics_are_unknown_for_parts_that_no_stage_wrote(checkout):
    lock_of(checkout, {})
    make_parts(checkout / "data", "lstm")
    assert read_provenance(checkout / "data") == UNKNOWN


def test_parts_without_evaluation_have_no_metrics(checkout):
    lock_of(checkout, {"evaluate": None})
    assert read_provenance(checkout / "data") == UNKNOWN
