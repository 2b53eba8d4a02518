"""Folders of picture files: with metadata.jsonl or metadata.csv, a folder per class, or plain."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqpriors.core.params import Section
from vqpriors.sources.base.hashing import content_hash
from vqpriors.sources.base.source import Record

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
METADATA = ("metadata.jsonl", "metadata.csv")
_SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


class Config(Section):
    """Location of the folder, and the columns of its metadata."""

    location: str
    caption_column: str | None
    label_column: str | None
    attribute_columns: list[str]


@dataclass(frozen=True)
class Picture:
    """A picture file and its row of metadata, if any."""

    path: Path
    row: Mapping[str, Any] | None


class ImageFolder:
    """The pictures of a folder; `records` reads the files."""

    def __init__(self, config: Config, *, param: str) -> None:
        self._config = config
        self._folder = Path(config.location).expanduser()
        if not self._folder.is_dir():
            raise ValueError(f"{param}.location: no folder {config.location!r}")
        self._roots = _split_folders(self._folder)
        self._splits = {split: _pictures(root) for split, root in self._roots.items()}
        for split, pictures in self._splits.items():
            self._check(split, pictures, param)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of pictures of each split."""
        return {split: len(pictures) for split, pictures in self._splits.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Content hash of pictures and metadata, independent of the location of the folder."""
        paths = [picture.path for pictures in self._splits.values() for picture in pictures]
        paths += [path for root in self._roots.values() if (path := _metadata(root))]
        return {"sha256": content_hash(self._folder, paths)}

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the pictures at the given rows of a split."""
        for row in rows:
            yield self._record(self._splits[split][row], self._roots[split])

    def _record(self, picture: Picture, root: Path) -> Record:
        row = picture.row or {}
        config = self._config
        folder = picture.path.parent
        label = None if folder == root else folder.name
        attributes = {name: _value(row, name) for name in config.attribute_columns}
        return Record(
            id=picture.path.relative_to(self._folder).as_posix(),
            image=picture.path.read_bytes(),
            caption=_value(row, config.caption_column),
            label=_value(row, config.label_column) or label,
            attributes={name: value for name, value in attributes.items() if value is not None},
        )

    def _check(self, split: str, pictures: list[Picture], param: str) -> None:
        if not pictures:
            kinds = "PNG, JPEG or WebP"
            raise ValueError(f"{param}.location: no {kinds} picture in {self._roots[split]}")
        for key, column in self._columns():
            if pictures[0].row is None and key != "caption_column":
                files = " or ".join(METADATA)
                raise ValueError(f"{param}.{key}: no {files} with a column {column!r}")
            if pictures[0].row is not None and not any(column in (p.row or {}) for p in pictures):
                known = ", ".join(str(name) for name in pictures[0].row)
                raise ValueError(f"{param}.{key}: no column {column!r}; choose one of {known}")

    def _columns(self) -> Iterator[tuple[str, str]]:
        for key in ("caption_column", "label_column"):
            if (column := getattr(self._config, key)) is not None:
                yield key, column
        for column in self._config.attribute_columns:
            yield "attribute_columns", column


def build(config: Config, *, seed: int, param: str) -> ImageFolder:
    """List a folder's pictures.

    Args:
        config: The folder and the metadata's columns.
        seed: Unused; nothing here is random.
        param: The config's dotted path, such as "data.folder.imagefolder", for errors.

    Raises:
        ValueError: If the folder, a listed file or a column is missing, a path is listed twice or
            lies outside the folder, or the metadata can't be read.
    """
    return ImageFolder(config, param=param)


def _split_folders(folder: Path) -> dict[str, Path]:
    found = {
        split: folder / name for name, split in _SPLIT_FOLDERS.items() if (folder / name).is_dir()
    }
    return found or {"train": folder}


def _metadata(root: Path) -> Path | None:
    found = [root / name for name in METADATA if (root / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{root}: has both {' and '.join(METADATA)}; remove one")
    return found[0] if found else None


def _pictures(root: Path) -> list[Picture]:
    metadata = _metadata(root)
    if metadata:
        return list(_pictures_from_metadata(root, metadata))
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in paths:
        if not _is_inside(path, root):
            raise ValueError(f"{path}: links to a file outside {root}; copy the picture instead")
    return [Picture(path, None) for path in paths if path.is_file()]


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _pictures_from_metadata(root: Path, metadata: Path) -> Iterator[Picture]:
    seen = set()
    for line, row in _rows(metadata):
        path = _listed_path(root, row.get("file_name"), f"{metadata}:{line}")
        if path in seen:
            raise ValueError(f"{metadata}:{line}: {row['file_name']!r} is listed twice")
        seen.add(path)
        yield Picture(root / path.relative_to(root.resolve()), row)


def _listed_path(root: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: no file_name; add the path of the picture, relative to {root}")
    path = root / name
    if not _is_inside(path, root):
        raise ValueError(f"{where}: {name!r} lies outside {root}")
    if not path.is_file():
        raise ValueError(f"{where}: no file {name!r} in {root}")
    return path.resolve()


def _rows(metadata: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number of each row's line, from 1, and the row."""
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as file:
            if metadata.suffix == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _json_row(line, f"{metadata}:{number}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{metadata}: can't be read ({error}); save it as UTF-8") from None


def _json_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: not a JSON object; write one per line")
    return row


def _value(row: Mapping[str, Any], column: str | None) -> str | None:
    value = None if column is None else row.get(column)
    return None if value is None or value == "" else str(value)
