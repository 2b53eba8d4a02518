"""Peers that are not packages: programs in checkouts of their repositories."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

LLAMA_GEN, VQ_VAE_2 = "LlamaGen", "vq-vae-2-pytorch"
KNOWN = {
    LLAMA_GEN: "https://github.com/FoundationVision/LlamaGen",
    VQ_VAE_2: "https://github.com/rosinality/vq-vae-2-pytorch",
}
_folders: dict[str, Path] = {}


def use(folder: Path) -> None:
    """Use a checkout, a folder that is named like its repository.

    Raises:
        ValueError: If the folder does not exist or its name is not in `KNOWN`.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    name = folder.resolve().name
    if name not in KNOWN:
        raise ValueError(f"{folder}: must be named {' or '.join(KNOWN)}, like the repository")
    _folders[name] = folder.resolve()


def is_used(name: str) -> bool:
    """Return whether there is a checkout of a repository."""
    return name in _folders


def commit(name: str) -> str:
    """Return the short commit of a checkout."""
    return commit_of(_folders[name])


def commit_of(folder: Path) -> str:
    """Return the short commit of a git repository."""
    command = ["git", "-C", str(folder), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def load(name: str, module: str) -> ModuleType:
    """Import a module of a checkout."""
    folder = str(_folders[name])
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(module)
