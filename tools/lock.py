"""Write requirements.lock: the exact versions of all that pyproject.toml asks for.

Installs the newest that fit into a fresh environment, torch first, and lists what is there. Torch's
build differs by machine, so its local tag and the GPU libraries that it brings along are left out:
installing `torch` brings the right ones again.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEAD = """\
# Every package of vqpriors at an exact version, for running, testing and checking it.
# Made by `make lock`, from pyproject.toml; `make lock TORCH=VERSION` takes another torch.
# Install torch first (`pip install torch=={torch}`), then the rest; `make` does so.
"""
UNLOCKED = {"peers"}  # benchmarks alone take them, and pyproject.toml says at which version
BROUGHT_BY_TORCH = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton)")


def main() -> None:
    """Make the environment, install, write the lock."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", required=True, help="exact version of torch")
    torch = parser.parse_args().torch
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder) / "bin" / "python"), "-m", "pip"]
        pinned = f"torch=={torch}"
        subprocess.run([*pip, "install", pinned], check=True)
        subprocess.run([*pip, "install", pinned, *requirements()], check=True)
        frozen = subprocess.run([*pip, "freeze", "--all"], check=True, text=True, stdout=-1).stdout
    lines = pins(frozen)
    LOCK.write_text(HEAD.format(torch=torch) + "\n".join(lines) + "\n")
    print(f"{LOCK.name}: {len(lines)} packages")


def requirements() -> list[str]:
    """Return what pyproject.toml asks for, the demo, trackers and development tools included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = [wanted for name, wanted in extras.items() if name not in UNLOCKED]
    return [*project["dependencies"], *chain(*locked)]


def pins(frozen: str) -> list[str]:
    """Return the lines of `pip freeze` that hold on every machine.

    Raises:
        SystemExit: If a line is no plain `name==version`.
    """
    lines = [line.partition("+")[0] for line in frozen.splitlines()]
    lines = [line for line in lines if not BROUGHT_BY_TORCH.match(line) and line[:5] != "pip=="]
    if odd := [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]:
        sys.exit(f"error: lock: {odd[0]!r} is no plain version; look where pip takes it from")
    return lines


if __name__ == "__main__":
    main()
