"""The code deps of dvc.yaml, compared with the imports of the stages."""

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
PACKAGES = {
    *CHOOSERS.values(),
    "vqpriors.sources",
    "vqpriors.sampling",
    "vqpriors.judge",
    "vqpriors.evaluation",
}
LAZY = "src/vqpriors/__init__.py"  # imports the generator on first access
WITHOUT_RESULTS = ("src/vqpriors/publish", "src/vqpriors/trackers")  # do not affect results


def code_of(stage):
    """Return the files that a stage can import, including every kind that it can load."""
    found = closure([f"stages.{stage}"], skipped=WITHOUT_RESULTS)
    while True:
        packages = set().union(*map(loaded_packages, found))
        kinds = [f"{package}.{kind}" for package in packages for kind in kind_names(package)]
        grown = closure([f"stages.{stage}", *kinds], skipped=WITHOUT_RESULTS)
        if grown == found:
            return {path for path in found if not has_no_code(path)}
        found = grown


def loaded_packages(path):
    """Return the packages of kinds whose names occur in a file."""
    tree = ast.parse((ROOT / path).read_text())
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    return {package for package in PACKAGES if package in strings}


def has_no_code(path):
    """Return whether a file is `LAZY` or an `__init__.py` with only a docstring."""
    body = ast.parse((ROOT / path).read_text()).body
    return path == LAZY or (path.endswith("__init__.py") and len(body) == 1)


def declared(stage):
    """Return each code dep with its paths, one for every kind that its param can name."""
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("stages/", "src/"))]
    return {dep: expanded(dep) for dep in deps}


def expanded(dep):
    for chooser, package in CHOOSERS.items():
        if chooser in dep:
            return [dep.replace(chooser, kind) for kind in kind_names(package)]
    return [dep]


def is_under(path, deps):
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_imports_is_under_a_declared_dep(stage):
    deps = [dep for expanded_deps in declared(stage).values() for dep in expanded_deps]
    assert [path for path in sorted(code_of(stage)) if not is_under(path, deps)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_dep_exists_and_is_used(stage):
    code = code_of(stage)
    for declared_as, deps in declared(stage).items():
        assert all((ROOT / dep).exists() for dep in deps), declared_as
        assert any(is_under(path, deps) for path in code), declared_as


def test_library_has_no_import_cycles():
    imports, settled = graph(), set()
    while free := {path for path in imports.keys() - settled if imports[path] <= settled | {path}}:
        settled |= free
    assert sorted(imports.keys() - settled) == []
