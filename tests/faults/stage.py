"""Stages run in this process on bad input, and the form of every error."""

import contextlib
import copy
import importlib
import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import stages
from tests.checkout import environment, tiny_params
from tests.imports import ROOT
from vqpriors.core.params import Params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: its exit code, and the lines on stderr."""

    code: int
    lines: list[str]


def run_stage(stage: str, params: Mapping[str, Any] | None, monkeypatch, *options: str) -> Outcome:
    """Run a stage in the current folder as its command does, on given params or DVC's own."""
    main = importlib.import_module(f"stages.{stage}").main
    for name, value in environment(Path.cwd()).items():
        if name.startswith(("DVC_", "HF_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", *options])
    if params is not None:
        given = Params(dict(params))
        monkeypatch.setattr("vqpriors.core.params.read_params", lambda _: given)
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            stages.run(stage, main)
        except SystemExit as end:  # a text is printed to stderr and ends the process with 1
            stderr.write("" if isinstance(end.code, int) else f"{end.code}\n")
            code = end.code if isinstance(end.code, int) else 1
    return Outcome(code, stderr.getvalue().splitlines())


def error_of(stage: str, outcome: Outcome) -> str:
    """Check that a stage failed as promised, and return its text after the stage's name."""
    assert outcome.code == 1
    assert len(outcome.lines) == 1, outcome.lines
    found = re.fullmatch(rf"error: {stage}: (\S[^;]*: \S.*)", outcome.lines[0])
    assert found is not None, outcome.lines[0]
    assert "--debug" not in found[1], "an unexpected error"
    return found[1]


def declared_params(stage: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the params that dvc.yaml declares for a stage, nested as DVC gives them."""
    declared: dict[str, Any] = {}
    for entry in STAGES[stage]["params"]:
        key = _REFERENCE.sub(lambda found: str(value_at(params, found[1])), entry)
        *path, last = key.split(".")
        section = declared
        for part in path:
            section = section.setdefault(part, {})
        section[last] = copy.deepcopy(value_at(params, key))
    return declared


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key."""
    for part in key.split("."):
        values = values[part]
    return values


def section_at(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that holds a dotted key, and the key's last part."""
    path, _, last = key.rpartition(".")
    return (value_at(values, path) if path else values), last


def set_at(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a dotted key, which may be new in its section."""
    changed = copy.deepcopy(dict(values))
    section, last = section_at(changed, key)
    section[last] = value
    return changed


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key below which nothing is, with its value."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value:
            yield from leaves(value, key)
        else:
            yield key, value


def sections(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted key of every mapping."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield key
            yield from sections(value, key)


def with_choice(chooser: str, name: str) -> dict[str, Any]:
    """Return the tiny params with another kind chosen."""
    params = tiny_params()
    section, last = section_at(params, chooser)
    section[last] = name
    return params
