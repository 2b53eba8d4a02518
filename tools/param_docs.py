"""Write docs/params.md: every param of every stage, from the schemas and params.yaml's comments."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import create_model
from ruamel.yaml import YAML

from stages.encode import EncodeConfig
from stages.evaluate import EvaluateConfig
from stages.painter import SampleConfig
from vqpriors.evaluation.judge import JudgeConfig
from vqpriors.images._prepare import Decoding, Recipe
from vqpriors.params import Section, Seed, Share
from vqpriors.phases import Phase
from vqpriors.plugins import kind_names
from vqpriors.trackers import Tracking
from vqpriors.training.optimisation import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PARAMS, PAGE = ROOT / "params.yaml", ROOT / "docs" / "params.md"
HEAD = (
    "# Params\n\n"
    "Every knob of [params.yaml](../params.yaml) by the stage that reads it: its default, what it "
    "may be, and what it does. `make params` makes this page from the schemas that check them. "
    "`dvc exp run -S KEY=VALUE` changes one for one experiment; a stage runs again when one of its "
    "params changes. A value that can't be is refused in one line before anything is done.\n"
)
PHASES = "sections as under Phases"
FIRST_PHASE = "tokenizer.vqvae.phases.warm_up"
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}

Schema = Mapping[str, Any]
Table = tuple[str, type[Section]]
"""A section's dotted path and its schema."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)}: made again")


def page() -> str:
    """Return the page as it should be."""
    params = YAML().load(PARAMS)
    parts = [HEAD]
    for title, tables in stages().items():
        parts.append(f"## {title}\n")
        for path, schema in tables:
            parts += [f"### `{path}`\n"] if path else []
            parts.append("\n".join(_lines(path, schema, params)) + "\n")
    return "\n".join(parts)


def stages() -> dict[str, list[Table]]:
    """Return the tables of each stage."""
    return {
        "All stages": [("", _choices(seed=Seed))],
        "Phases": [(FIRST_PHASE, Phase)],
        "download": [("data", _choices(name=str)), ("data.decoding", Decoding), *_data_sets()],
        "train_tokenizer": [
            ("tokenizer", _chosen("arch", "tokenizer", "quantizer", "quantizers")),
            *_kinds("tokenizer", "tokenizer"),
            *_kinds("tokenizer", "quantizers"),
            ("tokenizer.train", TrainConfig),
        ],
        "encode": [("encode", EncodeConfig)],
        "prepare_text": [("text", _chosen("encoder", "text")), *_kinds("text", "text")],
        "train_judge": [("judge.network", JudgeConfig), ("judge.train", TrainConfig)],
        "train_prior": [
            ("prior", _chosen("arch", "priors", caption_dropout=Share)),
            *_kinds("prior", "priors"),
            ("prior.train", TrainConfig),
        ],
        "sample": [("sample", SampleConfig), *_kinds("sample", "sampling")],
        "evaluate": [("evaluate", EvaluateConfig)],
        "Trackers of the training stages": [("tracking", Tracking)],
    }


def _choices(**types: Any) -> type[Section]:
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in types.items()}
    return create_model("Choices", __base__=Section, **fields)


def _chosen(*pairs: str, **types: Any) -> type[Section]:
    """Make a schema of params that name a kind: key, package, key, package, and further types."""
    packages = dict(zip(pairs[::2], pairs[1::2], strict=True))
    kinds = {key: Literal[*kind_names(f"vqpriors.{name}")] for key, name in packages.items()}
    return _choices(**kinds, **types)


def _kinds(section: str, package: str) -> list[Table]:
    modules = {name: f"vqpriors.{package}.{name}" for name in kind_names(f"vqpriors.{package}")}
    return [(f"{section}.{name}", import_module(path).Config) for name, path in modules.items()]


def _data_sets() -> list[Table]:
    """Return the schemas of a data set, at the first of params.yaml of each source."""
    data = YAML(typ="safe").load(PARAMS)["data"]
    first: dict[str, str] = {}
    for name, section in data.items():
        if isinstance(section, dict) and "source" in section:
            first.setdefault(section["source"], name)
    schemas = {path.removeprefix("data."): schema for path, schema in _kinds("data", "images")}
    sources = [(f"data.{name}.{source}", schemas[source]) for source, name in first.items()]
    return [(f"data.{next(iter(first.values()))}", Recipe), *sources]


def _lines(path: str, model: type[Section], params: Mapping[str, Any]) -> Iterator[str]:
    schema = model.model_json_schema()
    rows = list(_leaves(path, schema, schema.get("$defs", {})))
    if not rows:
        yield "It has no params."
        return
    yield "| param | default | may be | what it does |"
    yield "| --- | --- | --- | --- |"
    for key, node in rows:
        default = json.dumps(_value(params, key), ensure_ascii=False)
        kind = _kind(node) or _of_annotation(model.model_fields[key.rpartition(".")[2]].annotation)
        cells = [f"`{key}`", f"`{default}`", kind, _comment(params, key)]
        if PHASES in kind:
            cells = [
                f"`{key}`",
                ", ".join(_value(params, key)) or "none",
                PHASES,
                "its training, in order",
            ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _leaves(path: str, node: Schema, parts: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Yield every param at or below a path, with its schema."""
    for name, each in node["properties"].items():
        inner = parts[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        key = f"{path}.{name}".removeprefix(".")
        if "properties" in inner:
            yield from _leaves(key, inner, parts)
        else:
            yield key, inner


def _kind(node: Schema) -> str:
    """Say what a value of a JSON schema may be; nothing where the schema says nothing."""
    if "anyOf" in node:
        return " or ".join(_kind(each) for each in node["anyOf"])
    if "enum" in node or "const" in node:
        return ", ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
    kind = node.get("type", "")
    if kind == "array":
        return f"list of {_kind(node['items'])}"
    if kind == "object":
        of = node["additionalProperties"]
        return PHASES if "$ref" in of else f"names, each with {_kind(of)}"
    bounds = [
        form.format(node[name])
        for name, form in (
            ("minimum", "at least {}"),
            ("exclusiveMinimum", "above {}"),
            ("maximum", "at most {:,}"),
            ("exclusiveMaximum", "below {}"),
            ("multipleOf", "a multiple of {}"),
        )
        if name in node
    ]
    return ", ".join([TYPES.get(kind, ""), *bounds])


def _of_annotation(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(annotation))
    if parts := get_args(annotation):
        return " or ".join(map(_of_annotation, parts))
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}[annotation]


def _value(params: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        params = params[part]
    return params


def _comment(params: Mapping[str, Any], key: str) -> str:
    """Return what params.yaml says at a key, or where it says it first of one of that name."""
    *path, name = key.split(".")
    section: Any = params
    for part in path:
        section = section[part]
    own = _said(section, name)
    return own or next(_all_said(params, path[:1] or [name], name), "")


def _all_said(params: Any, first: list[str], name: str) -> Iterator[str]:
    """Yield what is said of keys of a name, those of the same topmost section first."""
    order = [*first, *(key for key in params if key not in first)]
    for top in order:
        yield from _said_below(params[top], name)


def _said_below(node: Any, name: str) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    if said := _said(node, name):
        yield said
    for each in node.values():
        yield from _said_below(each, name)


def _said(section: Any, name: str) -> str:
    found = section.ca.items.get(name)
    if not found or not found[2]:
        return ""
    return found[2].value.strip().partition("\n")[0].removeprefix("#").strip()


if __name__ == "__main__":
    main()
