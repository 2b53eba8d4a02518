import re

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from pydantic import Field

from stages.encode import EncodeConfig
from stages.evaluate import EvaluateConfig
from tests.imports import ROOT
from vqpriors.core.params import Params, Section, Seed, Share, check
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.inference.stage_sampler import SampleConfig
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig
from vqpriors.tokenizer.base.discriminator import DiscriminatorConfig
from vqpriors.training.config import RuntimeConfig, SharedTrainConfig, StageTrainConfig

VALUES = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DATA_SETS = [name for name, section in VALUES["data"].items() if "source" in section]
CHOICES = {
    "data.name": DATA_SETS,
    "tokenizer.arch": kind_names("vqpriors.tokenizer"),
    "tokenizer.quantizer": kind_names("vqpriors.quantizers"),
    "text.encoder": kind_names("vqpriors.text"),
    "prior.arch": kind_names("vqpriors.priors"),
}
PACKAGES = {
    "tokenizer": ["vqpriors.tokenizer", "vqpriors.quantizers"],
    "text": ["vqpriors.text"],
    "judge": ["vqpriors.judge"],
    "prior": ["vqpriors.priors"],
    "sample": ["vqpriors.sampling"],
}


def schemas():
    """Return the schema of each section of params.yaml, and the keys to ignore."""
    found = {
        "data.decoding": (DecodingConfig, []),
        "train": (SharedTrainConfig, []),
        "tokenizer.discriminator": (DiscriminatorConfig, []),
        "tokenizer.train": (StageTrainConfig, []),
        "encode": (EncodeConfig, []),
        "judge.train": (StageTrainConfig, []),
        "prior.train": (StageTrainConfig, []),
        "sample": (SampleConfig, kind_names("vqpriors.sampling")),
        "evaluate": (EvaluateConfig, []),
        "runtime": (RuntimeConfig, []),
    }
    for section, packages in PACKAGES.items():
        for package in packages:
            for kind in kind_names(package):
                found[f"{section}.{kind}"] = (load_kind(package, kind, param="").Config, [])
    for name in DATA_SETS:
        source = VALUES["data"][name]["source"]
        config = load_kind("vqpriors.sources", source, param="").Config
        found[f"data.{name}"] = (DatasetConfig, [source])
        found[f"data.{name}.{source}"] = (config, [])
    return found


SCHEMAS = schemas()


def same_order(values, checked):
    """Compare the order of keys with the order of fields, recursively."""
    if isinstance(checked, Section):
        fields = {name: getattr(checked, name) for name in type(checked).model_fields}
        assert list(values) == list(fields)
        for name, value in fields.items():
            same_order(values[name], value)
    elif isinstance(checked, dict):
        for name, value in checked.items():
            same_order(values[name], value)


@pytest.mark.parametrize("path", SCHEMAS)
def test_schema_has_the_keys_of_params_yaml_in_their_order(path):
    schema, besides = SCHEMAS[path]
    values = Params(VALUES).raw(path)
    values = {key: value for key, value in values.items() if key not in besides}
    same_order(values, check(path, values, schema))


def every_section(base=Section):
    for child in base.__subclasses__():
        if child.__module__.startswith(("vqpriors", "stages")):
            yield child
        yield from every_section(child)


@pytest.mark.parametrize("schema", sorted(every_section(), key=str), ids=str)
def test_no_schema_has_a_default(schema):
    assert [name for name, field in schema.model_fields.items() if not field.is_required()] == []
    config = schema.model_config
    assert (config["frozen"], config["extra"], config["strict"]) == (True, "forbid", True)


def leaves(values, path=""):
    if not isinstance(values, dict) or not values:
        return [path]
    return [
        leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}".strip("."))
    ]


def declared():
    """Return the params that stages declare, for every kind that a param can name."""
    for stage in STAGES.values():
        for param in stage["params"]:
            chooser = re.search(r"\$\{(.+?)\}", param)
            if chooser is None:
                yield param
            else:
                yield from (param.replace(chooser[0], choice) for choice in CHOICES[chooser[1]])


def test_every_leaf_of_params_yaml_is_declared_by_a_stage_or_changes_no_result():
    known = [*declared(), "runtime"]
    undeclared = [
        leaf
        for leaf in leaves(VALUES)
        if not any(leaf == param or leaf.startswith(f"{param}.") for param in known)
    ]
    assert undeclared == []


@pytest.mark.parametrize("chooser", CHOICES)
def test_every_kind_has_a_section_and_the_chosen_one_exists(chooser):
    section = chooser.rpartition(".")[0]
    assert set(CHOICES[chooser]) <= set(VALUES[section])
    assert Params(VALUES).raw(chooser) in CHOICES[chooser]


class Inner(Section):
    rate: float = Field(gt=0)


class Outer(Section):
    count: int
    parts: dict[str, Inner]


GOOD = {"count": 1, "parts": {"a": {"rate": 0.1}}}


def problem(values, path="x"):
    with pytest.raises(ValueError, match="x") as caught:
        check(path, values, Outer)
    return str(caught.value)


def test_good_section_is_frozen():
    checked = check("x", GOOD, Outer)
    assert checked.parts["a"].rate == 0.1
    with pytest.raises(ValueError, match="frozen"):
        checked.count = 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"count": "1"}, "x.count: input should be a valid integer, got '1'"),
        ({"count": True}, "x.count: input should be a valid integer, got True"),
        ({"count": 1.5}, "x.count: input should be a valid integer, got 1.5"),
        ({"size": 3}, "x.size: unknown key in params.yaml; remove it or correct its name"),
        (
            {"parts": {"a": {"rate": 0}}},
            "x.parts.a.rate: input should be greater than 0, got 0",
        ),
        ({"parts": {"a": {}}}, "x.parts.a.rate: missing from params.yaml"),
        ({"parts": {"a": {"rate": float("nan")}}}, "x.parts.a.rate: input should be"),
        ({"parts": {"a": {"rate": "1e-4"}}}, "x.parts.a.rate: input should be a valid number"),
    ],
)
def test_error_names_key_expectation_and_value(changes, expected):
    assert problem(GOOD | changes).startswith(expected)


def test_missing_key_is_named():
    assert problem({"parts": {}}) == "x.count: missing from params.yaml"


def test_values_are_read_by_path_without_coercion():
    params = Params({"seed": 3, "a": {"b": 0.5, "flag": 0}})
    assert params.value("a.b", float) == 0.5
    assert params.value("seed", Seed) == 3
    assert params.value("a.b", Share) == 0.5
    with pytest.raises(ValueError, match=r"a.flag: input should be a valid boolean, got 0"):
        params.value("a.flag", bool)
    with pytest.raises(ValueError, match=r"seed: input should be less than or equal to 1, got 3"):
        params.value("seed", Share)


@pytest.mark.parametrize("path", ["b", "a.c", "a.b.c"])
def test_undeclared_value_is_an_error(path):
    with pytest.raises(ValueError, match=rf"^{path}: missing from params.yaml, or not declared"):
        Params({"a": {"b": 0.5}}).raw(path)


def test_sections_of_kinds_can_be_ignored():
    params = Params({"x": GOOD | {"kind": {"anything": 1}}})
    assert params.section("x", Outer, besides=["kind"]).count == 1
    with pytest.raises(ValueError, match=r"x.kind: unknown key"):
        params.section("x", Outer)


def test_kind_has_its_validated_config():
    params = Params({"tokenizer": {"quantizer": "fsq", "fsq": {"levels": [3, 5]}}})
    kind = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    assert (kind.name, kind.config.levels) == ("fsq", [3, 5])
    assert kind.module.build(kind.config).num_codes == 15


@pytest.mark.parametrize(("value", "text"), [(12, "12"), (1.5, "1.5"), (True, "true")])
def test_value_that_yaml_takes_for_another_type_is_to_be_quoted(value, text):
    class Named(Section):
        name: str

    message = (
        f"data.x.name: input should be a string, got {value!r}; write it in quotes, "
        f"with -S as 'data.x.name=\"{text}\"'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check("data.x", {"name": value}, Named)
    with pytest.raises(
        ValueError, match=r"^data\.x\.name: input should be a valid string, got \[\]$"
    ):
        check("data.x", {"name": []}, Named)


OVERRIDES = {  # values of -S, as the shell passes them, of a location in quotes
    "'/data/my pics (1)'": "/data/my pics (1)",
    '"/data/my pics (1)"': "/data/my pics (1)",
    '"/data/größe/图片"': "/data/größe/图片",
    '"/data/a,b=c#d[1]{2}&;!@+"': "/data/a,b=c#d[1]{2}&;!@+",
    '"~/pics"': "~/pics",
    '"12"': "12",
    '"/data/it\'s"': "/data/it's",
    "'C:\\pics'": "C:\\pics",
}


@pytest.mark.parametrize("value", OVERRIDES)
def test_quotes_keep_any_location_of_the_command_line(tmp_path, value):
    path = tmp_path / "params.yaml"
    path.write_text("location: x\n")
    apply_overrides(str(path), [f"location={value}"])
    assert load_yaml(str(path)) == {"location": OVERRIDES[value]}
