"""The targets of the Makefile, requirements.lock and the page of plots."""

import os
import re
import subprocess
import tomllib

import pytest

from tests.imports import ROOT
from vqpriors.core.registry import kind_names

PAGE = ROOT / ".dvc" / "plots" / "page.html"


def make(*arguments):
    """Return the output of make, which must not run a target's commands."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # set if these tests are run by `make test`
    inherited = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=inherited, check=True, capture_output=True, text=True
    ).stdout


def test_help_lists_the_targets_named_in_readme_and_contributing():
    listed = set(re.findall(r"^make ([a-z-]+) ", make(), re.MULTILINE))
    texts = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`(?:make|[A-Z]+=\S+ make) ([a-z-]+)", texts))
    assert {"repro", "test", "help"} <= listed
    assert named <= listed


def test_sweep_covers_every_prior():
    sweep = f"prior.arch={','.join(kind_names('vqpriors.priors'))}"
    assert sweep in make("--dry-run", "--always-make", "priors")


@pytest.mark.parametrize(
    "target", ["plan", "plots", "report", "leaderboard", "tune-sampling", "codebooks", "priors"]
)
def test_targets_pass_on_what_is_given_by_with(target):
    assert " a=b" in make("--dry-run", "--always-make", target, "WITH=a=b")


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")


def test_lock_has_exact_versions_for_all_machines():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", pin) for pin in pins)
    names = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins}
    assert not {name for name in names if name.startswith(("nvidia-c", "cuda-", "triton"))}
    pyproject = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'"([a-z-]+)(?:\[[a-z]+\])?>=', pyproject)
    assert set(wanted) - {"setuptools"} <= names


def test_lock_includes_every_extra_but_the_peers():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"].keys() - {"peers"}
    command = make("--dry-run", "--always-make", "lock")
    assert set(re.findall(r"--extra ([a-z]+)", command)) == extras


def test_broken_links_and_anchors_fail_the_site():
    built = re.search(r"mkdocs build (.*)", make("--dry-run", "--always-make", "docs"))[1]
    assert built.split() == ["--strict"]  # --quiet would drop the warnings that it counts
    text = (ROOT / "mkdocs.yml").read_text()
    section = re.search(r"^validation:\n((?:  .*\n)+)", text, re.MULTILINE)[1]
    validation = dict(line.strip().split(": ") for line in section.splitlines())
    assert validation.pop("omitted_files") == "ignore"
    assert set(validation) == {"absolute_links", "anchors", "unrecognized_links"}
    assert set(validation.values()) == {"warn"}


def test_plots_page_needs_no_network():
    page = PAGE.read_text()
    assert not re.search(r"<(?:script|link|iframe)\s[^>]*\b(?:src|href)\s*=", page)
    assert "{plot_divs}" in page
    assert "{scripts}" not in page  # which DVC replaces by links to a CDN
    assert "connect-src 'none'" in page


def test_plots_page_matches_its_source():
    folder = ROOT / "tools" / "plots_page"
    page = PAGE.read_text()
    filled = {"%VERSIONS%", "%LICENCES%", "%BUNDLE%", "%STYLE%", "%CHARTS%", "%LAYOUT%"}
    pieces = re.split("|".join(filled), (folder / "page.html").read_text())
    assert len(pieces) == len(filled) + 1
    parts = ("licences.txt", "style.css", "charts.js", "layout.js")
    pieces += [(folder / name).read_text().strip() for name in parts]
    assert all(piece in page for piece in pieces)
