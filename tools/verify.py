"""Check the hashes of artifacts, checkpoints and DVC's cache; print how to repair damage."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from vqpriors.publish.integrity import cache_objects, cache_path, find_damage, is_intact, list_files

CHECKPOINTS = ".runs/*/*/step-*"


@dataclass(frozen=True)
class Damage:
    """A damaged file or folder.

    Attributes:
        path: The file or folder to remove before it can be restored.
        text: The error message, `<file>: <problem>; <fix>`.
    """

    path: Path
    text: str


def main() -> None:
    """Print a line for each damaged file and exit with 1, or print how many were checked.

    With `--remove`, remove damaged files: DVC does not notice the damage and would keep them.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.verify", description=__doc__)
    parser.add_argument("--remove", action="store_true", help="remove damaged files")
    remove = parser.parse_args().remove
    try:
        with Repo() as repo:
            counts, found = check(repo)
    except DvcException as error:
        sys.exit(f"error: verify: {error}; run it where dvc.yaml is")
    except OSError as error:
        problem = f"{error.filename}: {os.strerror(error.errno or 0).lower()}"
        sys.exit(f"error: verify: {problem}; check its permissions and the disk")
    for item in found:
        print(f"error: verify: {item.text}", file=sys.stderr)
        if remove:
            _remove(item.path)
    if found:
        sys.exit(1)
    print(f"undamaged: {', '.join(f'{count:,} {name}' for name, count in counts.items())}")


def check(repo: Any) -> tuple[dict[str, int], list[Damage]]:
    """Check all artifacts, checkpoints and cache objects of a repository.

    Args:
        repo: A `dvc.repo.Repo`.

    Returns:
        The numbers of artifacts, checkpoints and cache objects, and the damaged ones.
    """
    root, cache = Path(repo.root_dir), Path(repo.cache.local.path)
    outs = [out for stage in repo.index.stages for out in stage.outs if out.use_cache]
    artifacts = [folder for out in outs if (folder := root / out.def_path).exists()]
    checkpoints = sorted(root.glob(CHECKPOINTS))
    objects = list(cache_objects(cache))
    counts = {"artifacts": len(artifacts), "checkpoints": len(checkpoints), "objects": len(objects)}
    damaged = [*_artifacts(artifacts, root), *_checkpoints(checkpoints, root)]
    return counts, [*damaged, *_objects(objects, outs, cache, root)]


def _artifacts(folders: list[Path], root: Path) -> Iterator[Damage]:
    for folder in folders:
        if problem := find_damage(folder):
            name = folder.relative_to(root)
            fix = f"remove {name} (--remove does) and run `dvc checkout {name}`"
            yield Damage(folder, f"{_below(problem, root)}; {fix}, or `dvc repro`")


def _checkpoints(folders: list[Path], root: Path) -> Iterator[Damage]:
    for folder in folders:
        if problem := find_damage(folder):
            fix = "remove it (--remove does); training resumes from the previous checkpoint"
            yield Damage(folder, f"{_below(problem, root)}; {fix}")


def _objects(objects: list[Path], outs: list[Any], cache: Path, root: Path) -> Iterator[Damage]:
    damaged = [path for path in objects if not is_intact(path)]
    owners = _owners(outs, cache) if damaged else {}
    for path in damaged:
        out, name = owners.get(path, (None, "a file of an experiment or an earlier run"))
        problem = f"{path.relative_to(root)}: damaged (its MD5 is not its name); it is {name}"
        fix = "remove it (--remove does); `dvc pull` restores it from a remote"
        if out is not None:
            source = f"`dvc commit {out.stage.name}` from {out.def_path}"
            fix = f"{fix}, {source if _is_here(out, root / out.def_path) else '`dvc repro`'}"
        yield Damage(path, f"{problem}; {fix}")


def _is_here(out: Any, place: Path) -> bool:
    """Return whether the working tree has the undamaged output that dvc.lock names."""
    return place.exists() and find_damage(place) is None and not out.changed_checksum()


def _owners(outs: list[Any], cache: Path) -> dict[Path, tuple[Any, str]]:
    found: dict[Path, tuple[Any, str]] = {}
    for out in outs:
        digest = out.hash_info.value
        if digest:
            found[cache_path(cache, digest)] = out, f"the file list of {out.def_path}"
            for name, part in list_files(cache, digest):
                place = f"{out.def_path}/{name}" if name else out.def_path
                found[cache_path(cache, part)] = out, place
    return found


def _below(text: str, root: Path) -> str:
    return text.replace(f"{root}/", "")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    main()
