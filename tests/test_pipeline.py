"""The deps of dvc.yaml against what the stages import."""

import ast

import pytest
import yaml

from tests.imports import ROOT, closure, graph
from vqpriors.core.registry import kind_names

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CHOOSERS = {
    "${tokenizer.arch}": "vqpriors.tokenizer",
    "${tokenizer.quantizer}": "vqpriors.quantizers",
    "${text.encoder}": "vqpriors.text",
    "${prior.arch}": "vqpriors.priors",
}
PACKAGES = {*CHOOSERS.values(), "vqpriors.sources", "vqpriors.sampling"}
LAZY = "src/vqpriors/__init__.py"  # imports the generator when it is asked for
WITHOUT_RESULTS = ("src/vqpriors/publish", "src/vqpriors/trackers")  # they change no result


def code_of(stage):
    """Return the files that a stage can run: its imports, and every kind that they can load."""
    found = closure([f"stages.{stage}"], skipped=WITHOUT_RESULTS)
    while True:
        packages = set().union(*map(loaded_packages, found))
        kinds = [f"{package}.{kind}" for package in packages for kind in kind_names(package)]
        grown = closure([f"stages.{stage}", *kinds], skipped=WITHOUT_RESULTS)
        if grown == found:
            return {path for path in found if not decides_nothing(path)}
        found = grown


def loaded_packages(path):
    """Return the packages of kinds that a file names."""
    tree = ast.parse((ROOT / path).read_text())
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    return {package for package in PACKAGES if package in strings}


def decides_nothing(path):
    """Tell whether a file is an `__init__.py` with a docstring alone, or `LAZY`."""
    body = ast.parse((ROOT / path).read_text()).body
    return path == LAZY or (path.endswith("__init__.py") and len(body) == 1)


def declared(stage):
    """Return each code dep with the paths that it stands for, one for every kind."""
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("stages/", "src/"))]
    return {dep: expanded(dep) for dep in deps}


def expanded(dep):
    for chooser, package in CHOOSERS.items():
        if chooser in dep:
            return [dep.replace(chooser, kind) for kind in kind_names(package)]
    return [dep]


def is_under(path, places):
    return any(path == place or path.startswith(f"{place}/") for place in places)


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_runs_lies_under_a_declared_dep(stage):
    places = [place for paths in declared(stage).values() for place in paths]
    assert [path for path in sorted(code_of(stage)) if not is_under(path, places)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_dep_is_there_and_used(stage):
    code = code_of(stage)
    for dep, places in declared(stage).items():
        assert all((ROOT / place).exists() for place in places), dep
        assert any(is_under(path, places) for path in code), dep


def test_library_has_no_import_circles():
    imports, settled = graph(), set()
    while free := {path for path in imports.keys() - settled if imports[path] <= settled | {path}}:
        settled |= free
    assert sorted(imports.keys() - settled) == []
