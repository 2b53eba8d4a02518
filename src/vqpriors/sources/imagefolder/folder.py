"""The source: pictures of a folder with captions, labels and attributes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqpriors.core.params import Section
from vqpriors.sources.base.hashing import content_hash
from vqpriors.sources.base.source import Record, with_label
from vqpriors.sources.imagefolder.classes import ClassFolders, class_names
from vqpriors.sources.imagefolder.files import METADATA, Files, find_files, refuse_metadata_like
from vqpriors.sources.imagefolder.pictures import (
    Columns,
    Picture,
    caption_files,
    captioned_pictures,
    listed_pictures,
)
from vqpriors.sources.imagefolder.tables import Table, read_table
from vqpriors.sources.imagefolder.unused import count_unused


class Config(Section):
    """Location of the folder, columns of its metadata, and the subfolders that are classes.

    Attributes:
        location: The folder.
        caption_column: Column of captions in metadata; None for no captions, also not from files.
        label_column: Column of classes in metadata.
        attribute_columns: Columns of attributes in metadata.
        class_folders: Subfolders that name classes; see `classes.class_names`.
    """

    location: str
    caption_column: str | None
    label_column: str | None
    attribute_columns: list[str]
    class_folders: ClassFolders


class ImageFolder:
    """The pictures of a folder; `records` reads the files.

    Args:
        folder: The folder.
        splits: The pictures of each split.
        classes: Classes of pictures by the names of subfolders.
        described_by: Metadata or caption files.
        has_attributes: Whether columns of attributes are read.
        notes: See `Source`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        splits: Mapping[str, list[Picture]],
        classes: Mapping[Path, str],
        described_by: Sequence[Path],
        has_attributes: bool,
        notes: Sequence[str],
    ) -> None:
        self.notes = notes
        self._has_attributes = has_attributes
        self._folder, self._splits, self._classes = folder, splits, classes
        self._described_by = described_by

    @property
    def sizes(self) -> dict[str, int]:
        """Number of pictures of each split."""
        return {split: len(pictures) for split, pictures in self._splits.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Content hash of pictures, metadata and captions, independent of the location."""
        listed = (picture for pictures in self._splits.values() for picture in pictures)
        paths = [picture.path for picture in listed if not picture.problem]
        return {"sha256": content_hash(self._folder, [*paths, *self._described_by])}

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the pictures at the given rows of a split."""
        for row in rows:
            yield self._record(self._splits[split][row])

    def _record(self, picture: Picture) -> Record:
        label = picture.label or self._classes.get(picture.path)
        return Record(
            id=picture.path.relative_to(self._folder).as_posix(),
            image=None if picture.problem else picture.path.read_bytes(),
            caption=picture.captions[0] if picture.captions else None,
            label=label,
            attributes=with_label(picture.attributes, label) if self._has_attributes else {},
            other_captions=picture.captions[1:],
            problem=picture.problem,
        )


def build(config: Config, *, seed: int, param: str) -> ImageFolder:
    """List a folder's pictures.

    Args:
        config: The folder, the metadata's columns and the use of subfolders.
        seed: Unused; nothing here is random.
        param: The config's dotted path, such as "data.folder.imagefolder", for errors.

    Raises:
        ValueError: If the folder or a column is missing, its splits or classes are not clear, a
            path is listed twice or lies outside the folder, or metadata is not well formed.
    """
    folder = Path(config.location).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{param}.location: no folder {config.location!r}")
    columns = Columns(config.caption_column, config.label_column, config.attribute_columns)
    with _naming(f"{param}.location"):
        files = find_files(folder)
        metadata = files.metadata()
        tables = [read_table(path) for path in metadata]
    _refuse_missing_columns(tables, columns, param)
    with _naming(f"{param}.location"):
        texts = {} if tables or config.caption_column is None else caption_files(files)
        described_by = metadata or list(dict.fromkeys(texts.values()))
        refuse_metadata_like(files, described_by)
        if tables:
            pictures = listed_pictures(files, tables, columns)
        else:
            pictures = captioned_pictures(files, texts)
        notes = count_unused(files, [each.path for each in pictures], described_by)
        splits = _splits(files, pictures, notes)
    roots = {each.path: files.roots[split] for split, part in splits.items() for each in part}
    classes, class_notes = class_names(
        roots, config.class_folders, is_described=bool(described_by), param=f"{param}.class_folders"
    )
    return ImageFolder(
        folder,
        splits=splits,
        classes=classes,
        described_by=described_by,
        has_attributes=bool(config.attribute_columns),
        notes=[*notes, *(class_notes if config.label_column is None else [])],
    )


@contextmanager
def _naming(param: str) -> Iterator[None]:
    """Put the param before errors, since the path that they begin with may have any characters."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{param}: {error}") from None


def _refuse_missing_columns(tables: Sequence[Table], columns: Columns, param: str) -> None:
    for key, column in columns.named():
        if not tables and key != "caption_column":
            files = " or ".join(METADATA)
            raise ValueError(f"{param}.{key}: no {files} with a column {column!r}")
        for table in tables:
            if column not in table.columns:
                known = ", ".join(table.columns)
                problem = f"no column {column!r} in {table.path}"
                raise ValueError(f"{param}.{key}: {problem}; choose one of {known}")


def _splits(
    files: Files, pictures: Sequence[Picture], notes: Sequence[str]
) -> dict[str, list[Picture]]:
    splits: dict[str, list[Picture]] = {split: [] for split in files.roots}
    for picture in pictures:
        split = files.split(picture.path)
        assert split is not None
        splits[split].append(picture)
    for split, found in splits.items():
        if not found:
            reason = f" ({'; '.join(notes)})" if notes else ""
            raise ValueError(f"no picture in {files.roots[split]}{reason}; add PNG or JPEG files")
    return splits
