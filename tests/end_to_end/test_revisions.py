"""The models of any commit can generate pictures and be saved with their metrics."""

import json
import shutil

import pytest
from PIL import Image

from tests.checkout import copy_checkout, git, run
from tests.imports import ROOT
from tests.parts import same
from vqpriors.inference.generator import Generator
from vqpriors.publish.model_card import read_provenance

PROMPT = "a large red seven on a black background"
SAVE = (
    "import sys; from vqpriors.inference.generator import Generator\n"
    "Generator.load('data', revision=sys.argv[1]).save(sys.argv[2])"
)


@pytest.fixture
def checkout(reproduced, tmp_path):
    """A copy whose data folder is gone and whose params have changed."""
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    shutil.rmtree(folder / "data")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("guidance: 2.0", "guidance: 7.0"))
    return folder


def vqpriors(folder, *arguments, **how):
    return run(folder, "python", *map(str, arguments), PYTHONPATH=str(ROOT / "src"), **how)


def test_pictures_of_a_commit_equal_those_of_its_own_checkout(reproduced, checkout, tmp_path):
    before = git(checkout, "status", "--porcelain")
    command = ["-m", "vqpriors", "generate", "--prompt", PROMPT, "--num-samples", 2]
    done = vqpriors(checkout, *command, "--rev", "HEAD", "--out", tmp_path / "out")
    assert done.stdout == f"2 pictures, sheet.png and pictures.jsonl in {tmp_path / 'out'}\n"
    drawn = [Image.open(path) for path in sorted((tmp_path / "out").glob("000-*.png"))]
    assert same(drawn, Generator.load(reproduced.folder / "data")(PROMPT, num_samples=2))
    assert git(checkout, "status", "--porcelain") == before


def test_saved_commit_has_its_metrics(reproduced, checkout, tmp_path):
    vqpriors(checkout, "-c", SAVE, "HEAD", tmp_path / "saved")
    measured = json.loads((reproduced.folder / "metrics/evaluate/metrics.json").read_text())
    provenance = read_provenance(tmp_path / "saved")
    assert provenance == read_provenance(reproduced.folder / "data")
    assert provenance.data == "digits"
    assert provenance.metrics.items() <= measured.items()
    assert "frechet_distance" in provenance.metrics
    card = (tmp_path / "saved/README.md").read_text()
    assert "test split of `digits`" in card
    assert str(tmp_path) not in card


@pytest.mark.slow
def test_unknown_revision_is_one_line(checkout):
    command = ["-m", "vqpriors", "generate", "--prompt", PROMPT, "--rev", "nope"]
    done = vqpriors(checkout, *command, fails=True)
    assert done.stderr.startswith("error: generate: data: no revision 'nope'; ")
    assert done.stderr.count("\n") == 1
