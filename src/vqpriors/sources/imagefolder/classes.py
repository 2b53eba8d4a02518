"""Classes named by subfolders."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

ClassFolders = Literal["auto", "outer", "inner", "none"]


def class_names(
    roots: Mapping[Path, Path], choice: ClassFolders, *, is_described: bool, param: str
) -> tuple[dict[Path, str], list[str]]:
    """Return the class of each picture that a subfolder names, and notes for the user.

    Args:
        roots: The folder of the split of each picture.
        choice: "outer": the first folder below that of the split; "inner": the picture's own;
            "none": no classes; "auto": none if the pictures are described otherwise, else the
            subfolders if there are several side by side.
        is_described: Whether metadata or caption files describe the pictures.
        param: Dotted path of the choice, for errors.

    Raises:
        ValueError: If the choice is "auto" and subfolders are nested, or a choice names no class.
    """
    folders = {path: path.relative_to(root).parts[:-1] for path, root in roots.items()}
    inside = {path: parts for path, parts in folders.items() if parts}
    if choice == "none" or (choice == "auto" and not inside):
        return {}, []
    if choice != "auto":
        if not inside:
            raise ValueError(f"{param}: no picture lies in a subfolder; choose none")
        place = 0 if choice == "outer" else -1
        return {path: parts[place] for path, parts in inside.items()}, []
    names = sorted({parts[0] for parts in inside.values()})
    if is_described:
        return {}, [] if len(names) < 2 else _not_classes(
            names, "since captions or metadata are given", param
        )
    if nested := next((path for path, parts in inside.items() if len(parts) > 1), None):
        raise ValueError(
            f"{param}: {nested.relative_to(roots[nested])} lies in nested subfolders, so its class "
            "is not clear; choose outer (the first folder), inner (its own) or none"
        )
    if all(count < 2 for count in _names_by_root(roots, inside).values()):
        return {}, _not_classes(names, "since no folder is beside it", param)
    return {path: parts[0] for path, parts in inside.items()}, []


def _names_by_root(
    roots: Mapping[Path, Path], inside: Mapping[Path, Sequence[str]]
) -> dict[Path, int]:
    """Count the subfolders of pictures of each split."""
    names: dict[Path, set[str]] = {}
    for path, parts in inside.items():
        names.setdefault(roots[path], set()).add(parts[0])
    return {root: len(found) for root, found in names.items()}


def _not_classes(names: Iterable[str], reason: str, param: str) -> list[str]:
    first, *others = names
    many = f" and {len(others)} more subfolders are no classes" if others else "/ is no class"
    return [f"{first}{many}, {reason} ({param})"]
