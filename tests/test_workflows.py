"""The workflows and hooks: what they run exists, in the versions of requirements.lock."""

import re

import pytest
import yaml

from tests.imports import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def steps(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs_existing_targets_and_actions(workflow):
    made = [
        target
        for step in steps(workflow)
        for line in re.findall(r"^make (.*)$", step.get("run", ""), re.MULTILINE)
        for target in line.split()
    ]
    assert made
    assert set(made) <= set(TARGETS)
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    for action in used:
        if action.startswith("./"):
            assert (ROOT / action / "action.yml").is_file()
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)


def test_all_supported_versions_of_python_are_tested():
    matrix = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    found = matrix["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert found == ["3.11", "3.12", "3.13"]
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


def test_installation_marks_itself_as_that_of_make():
    action = yaml.safe_load((ROOT / ".github/actions/install/action.yml").read_text())
    run = action["runs"]["steps"][-1]["run"]
    installed = re.search(r"^INSTALLED := \$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert run.rstrip().endswith(f"touch .venv/{installed[1]}")
    assert re.search(r"^torch==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_hooks_run_the_checks_of_make():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = (repo["hooks"] for repo in config["repos"] if repo["repo"] == "local")
    entries = {hook["entry"].removeprefix(".venv/bin/") for hook in local}
    assert entries == {"ruff check", "ruff format --check", "make types"}
