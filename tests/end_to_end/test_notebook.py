"""The notebooks, run from start to end: a tour of a chain, and drawing before any training."""

import shutil

import nbformat
import pytest

from tests.checkout import copy_checkout, run
from tests.imports import ROOT

NOTEBOOK, DRAW = "notebooks/tour.ipynb", "notebooks/draw.ipynb"


def outputs(path):
    """Return the outputs of each cell of code."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell.outputs for cell in cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(reproduced, tmp_path_factory):
    folder = copy_checkout(reproduced.folder, tmp_path_factory.mktemp("notebook") / "checkout")
    shutil.copytree(ROOT / "metrics/reference", folder / "metrics/reference")
    own = {"PYTHONPATH": str(folder / "src"), "JUPYTER_PLATFORM_DIRS": "1"}
    run(folder, "jupyter", "execute", "--inplace", NOTEBOOK, **own)
    return outputs(folder / NOTEBOOK)


@pytest.mark.slow
def test_every_cell_has_an_output_and_none_fails(executed):
    assert len(executed) == 9
    assert not [out for cell in executed for out in cell if out.output_type == "error"]
    assert all(executed)


@pytest.mark.slow
def test_pictures_are_shown(executed):
    shown = [cell for cell in executed if any("image/png" in out.get("data", {}) for out in cell)]
    assert len(shown) >= 6


@pytest.mark.slow
def test_drawing_needs_no_chain(tmp_path):
    shutil.copy(ROOT / DRAW, tmp_path)
    own = {"PYTHONPATH": str(ROOT / "src"), "JUPYTER_PLATFORM_DIRS": "1"}
    run(tmp_path, "jupyter", "execute", "--inplace", "draw.ipynb", **own)
    found = outputs(tmp_path / "draw.ipynb")
    assert not [out for cell in found for out in cell if out.output_type == "error"]
    assert sum("image/png" in out.get("data", {}) for cell in found for out in cell) == 3


@pytest.mark.parametrize("notebook", [NOTEBOOK, DRAW])
def test_committed_notebook_was_run_in_order(notebook):
    cells = nbformat.read(ROOT / notebook, as_version=4).cells
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [
        out for cell in outputs(ROOT / notebook) for out in cell if out.output_type == "error"
    ]
    assert all(outputs(ROOT / NOTEBOOK))
