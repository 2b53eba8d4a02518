"""The notebook, run from start to end on the results of a chain."""

import shutil

import nbformat
import pytest

from tests.checkout import copy_checkout, run
from tests.imports import ROOT

NOTEBOOK = "notebooks/tour.ipynb"


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


def test_committed_notebook_was_run_in_order():
    cells = nbformat.read(ROOT / NOTEBOOK, as_version=4).cells
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert all(outputs(ROOT / NOTEBOOK))
