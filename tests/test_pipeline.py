"""The declarations of dvc.yaml and params.yaml against what the code does."""

import ast

import pytest
import yaml

from tests.imports import ROOT, closure
from vqpriors.plugins import kind_names

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CHOOSERS = {
    "vqpriors.tokenizer": "${tokenizer.arch}",
    "vqpriors.quantizers": "${tokenizer.quantizer}",
    "vqpriors.text": "${text.encoder}",
    "vqpriors.priors": "${prior.arch}",
}
IDLE = {"vqpriors.trackers"}  # told of a run, and no part of what it makes
UNCHOSEN = {"vqpriors.images", "vqpriors.sampling"}  # DVC can't name the kind: the whole package
IDLE_FOLDERS = tuple(f"src/{package.replace('.', '/')}" for package in IDLE)


def expected_code(stage: str) -> set[str]:
    """Return the code that a stage must declare: what it imports, and the kinds that it loads."""
    code = closure(f"stages.{stage}")
    code = {path for path in code if not path.startswith(IDLE_FOLDERS)}
    packages = loaded_packages(code)
    while True:
        kinds = {f"{p}.{kind}" for p in packages for kind in kind_names(p)}
        grown = code.union(*(closure(kind) for kind in kinds))
        found = loaded_packages(grown)
        if found == packages:
            break
        packages = found
    files = {kind: f"src/{kind.replace('.', '/')}.py" for kind in kinds}
    code = grown - {files[kind] for kind in kinds}
    for package in packages:
        folder = f"src/{package.replace('.', '/')}"
        if package in UNCHOSEN:
            code = {path for path in code if not path.startswith(folder)} | {folder}
        else:
            code.add(f"{folder}/{CHOOSERS[package]}.py")
    return code


def loaded_packages(paths: set[str]) -> set[str]:
    """Return the packages of kinds that files name in calls that load or list a kind."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Call):
                strings = [a.value for a in node.args if isinstance(a, ast.Constant)]
                found |= {s for s in strings if s in CHOOSERS.keys() | UNCHOSEN}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_what_the_stage_runs(stage):
    declared = {
        dep for dep in STAGES[stage]["deps"] if dep.endswith(".py") or dep.startswith("src")
    }
    assert declared == expected_code(stage)
