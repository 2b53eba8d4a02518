"""The files of a folder: its splits, pictures, metadata and captions, and what is not used."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vqpriors.data.decoding import endings

METADATA = ("metadata.jsonl", "metadata.csv")
SPLIT_NAMES = {  # as Hugging Face's ImageFolder names them
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS = {name: split for split, names in SPLIT_NAMES.items() for name in names}
_NO_DATA = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found"}
_NO_DATA |= {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_TABLES = {"", ".csv", ".json", ".jsonl", ".ndjson", ".txt", ".tsv", ".xls", ".xlsx", ".ods"}
_TABLES |= {".parquet", ".yaml", ".yml", ".xml"}


@dataclass(frozen=True)
class Files:
    """The visible files of a folder.

    Attributes:
        folder: The folder.
        roots: Folder of each split; "train" is the folder itself if it has no folders of splits.
        paths: All files, sorted.
    """

    folder: Path
    roots: dict[str, Path]
    paths: list[Path]

    def split(self, path: Path) -> str | None:
        """Return the split of a file; None beside the folders of splits."""
        for split, root in self.roots.items():
            if path.is_relative_to(root):
                return split
        return None

    def pictures(self) -> Iterator[Path]:
        """Yield the files with an ending of a picture."""
        return (path for path in self.paths if path.suffix.lower() in endings())

    def metadata(self) -> list[Path]:
        """Return the metadata files.

        Raises:
            ValueError: If a folder has two.
        """
        found = [path for path in self.paths if path.name in METADATA]
        folders = Counter(path.parent for path in found)
        if folders and folders.most_common(1)[0][1] > 1:
            folder = folders.most_common(1)[0][0]
            raise ValueError(f"{folder}: has both {' and '.join(METADATA)}; remove one")
        return found


def find_files(folder: Path) -> Files:
    """List a folder's files, without hidden ones and those of editors and systems.

    Raises:
        ValueError: If a link leads out of the folder or to a folder, a name is not UTF-8, or the
            folders of splits are ambiguous.
    """
    paths = sorted(_walk(folder))
    roots = _roots(folder, paths)
    return Files(folder, roots, paths)


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path lies inside of a folder, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def refuse_metadata_like(files: Files, used: Iterable[Path]) -> None:
    """Refuse a file that is metadata by its name or content but not read, in a folder without any.

    Raises:
        ValueError: If there is one.
    """
    used = {*used}
    covered = {path.parent for path in used if path.name in METADATA}
    pictures = {path.with_suffix("") for path in files.pictures()}
    for path in files.paths:
        if path in used or covered & {*path.parents} or path.suffix.lower() not in _TABLES:
            continue
        if _is_named_metadata(path) or (
            path.with_suffix("") not in pictures and _names_files(path)
        ):
            read = "metadata.csv (with commas) or metadata.jsonl (a JSON object per line)"
            raise ValueError(f"{path}: not read; convert it to {read}, or remove it")


def _names_files(path: Path) -> bool:
    with path.open("rb") as file:
        return b"file_name" in file.read(4096)


def _is_named_metadata(path: Path) -> bool:
    stem = path.name.lower().partition(".")[0]
    letters = re.sub("[^a-z]", "", stem)
    is_like = "metadata" in letters or "caption" in letters
    return is_like or bool(get_close_matches(letters, ["metadata", "meta"], 1, 0.8))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder, onerror=_raise):
        names[:] = filter(_is_data, names)
        for name in names:
            _refuse(Path(parent, name), folder, is_folder=True)
        for path in (Path(parent, name) for name in filter(_is_data, files)):
            _refuse(path, folder, is_folder=False)
            yield path


def _raise(error: OSError) -> None:
    raise error


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NO_DATA and not name.endswith("~")


def _refuse(path: Path, folder: Path, *, is_folder: bool) -> None:
    if path.is_symlink():
        if not is_inside(path, folder):
            kind = "folder" if is_folder else "file"
            raise ValueError(f"{path}: links to a {kind} outside {folder}; copy it instead")
        if is_folder:
            raise ValueError(f"{path}: links to a folder; copy it instead")
    try:
        path.name.encode()
    except UnicodeEncodeError:
        name = path.name.encode(errors="surrogateescape").decode(errors="replace")
        raise ValueError(f"{folder}: the name {name!r} is not UTF-8; rename it") from None


def _roots(folder: Path, paths: list[Path]) -> dict[str, Path]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    full = {
        path.relative_to(folder).parts[0]
        for path in paths
        if path.suffix.lower() in endings() and path.parent != folder
    }
    found: dict[str, str] = {}
    for name in names:
        split = _SPLITS.get(name.lower())
        if split is None:
            continue
        if split in found:
            raise ValueError(
                f"{folder}: {found[split]}/ and {name}/ are both the {split} split; join them"
            )
        found[split] = name
    others = full - {*found.values()}
    similar = _similar_splits(others)
    if {*similar.values()} == others and len({**similar, **found}) > 1:
        found = {**similar, **found}
    elif others:
        _refuse_unclear_splits(folder, found, similar, others)
    roots = {split: folder / found[split] for split in SPLIT_NAMES if split in found}
    _refuse_nested_splits(paths, roots.values())
    return roots or {"train": folder}


def _similar_splits(names: Iterable[str]) -> dict[str, str]:
    """Return the folders with a name such as train_images or val2017, by split."""
    found: dict[str, str] = {}
    for name in sorted(names):
        splits = {_SPLITS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SPLITS}
        if len(splits) == 1:
            found.setdefault(splits.pop(), name)
    return found


def _refuse_unclear_splits(
    folder: Path, found: dict[str, str], similar: dict[str, str], others: set[str]
) -> None:
    """Refuse folders of pictures beside a single folder of a split, which may be a class.

    Likewise folders of pictures beside several whose names are similar to those of splits.
    """
    if len(found) == 1:
        name, beside = next(iter(found.values())), _listed(others)
        raise ValueError(
            f"{folder}: {name}/ is the folder of a split, but there are pictures in {beside} "
            f"beside it; rename {name}/ if it is a class, or move the others into it"
        )
    if not found and len(similar) > 1:
        raise ValueError(
            f"{folder}: {_listed(similar.values())} may be splits or classes; name the folders of "
            "splits train/, validation/ and test/ and move others away, or rename the classes"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" for name in sorted(names)[:3])


def _refuse_nested_splits(paths: list[Path], roots: Iterable[Path]) -> None:
    """Refuse folders of several splits anywhere but at the top."""
    parents = {path.parent for path in paths}
    folders = parents | {folder for parent in parents for folder in parent.parents}
    folders -= set(roots)
    tops = {root.parent for root in roots}
    splits: dict[Path, dict[str, str]] = {}
    for folder in sorted(folders):
        split = _SPLITS.get(folder.name.lower())
        if split is not None and folder.parent not in tops:
            splits.setdefault(folder.parent, {})[split] = folder.name
    for parent, names in splits.items():
        if len(names) > 1:
            listed = ", ".join(f"{name}/" for name in names.values())
            raise ValueError(
                f"{parent}: has the folders of splits {listed}, which must lie at the top of "
                "imagefolder.location; set it to this folder, or move them up"
            )
