"""Run notebooks/tour.ipynb on what the chain has made, and keep its outputs."""

import subprocess
import sys
from pathlib import Path

import nbformat

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "tour.ipynb"


def main() -> None:
    """Run all cells; a cell that fails ends it."""
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", str(NOTEBOOK)]
    subprocess.run(command, check=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ from run to run
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: run, {NOTEBOOK.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
