"""The pictures of a folder with their captions, labels and attributes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqpriors.sources.base.text_values import NotTextError, captions_of, text_of
from vqpriors.sources.imagefolder.files import Files, is_inside
from vqpriors.sources.imagefolder.tables import FILE_NAME, Row, Table, read_text

CAPTION_ENDINGS = (".txt", ".caption")  # in order of preference


@dataclass(frozen=True)
class Picture:
    """A picture file.

    Attributes:
        path: Its path below the folder.
        captions: Its captions, if any.
        label: Its class by the metadata, if any.
        attributes: Its attributes by the metadata.
        problem: Why it can't be used, such as a missing file; None if it can be read.
    """

    path: Path
    captions: tuple[str, ...] = ()
    label: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Columns:
    """Columns of metadata to read: of captions, of classes and of attributes."""

    caption: str | None
    label: str | None
    attributes: Sequence[str]

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the key in params and the name of each column."""
        if self.caption is not None:
            yield "caption_column", self.caption
        if self.label is not None:
            yield "label_column", self.label
        for column in self.attributes:
            yield "attribute_columns", column


def caption_files(files: Files) -> dict[Path, Path]:
    """Return the .txt or .caption file of the same stem beside each picture that has one."""
    texts: dict[Path, Path] = {}
    for ending in CAPTION_ENDINGS:
        for path in files.paths:
            if path.suffix.lower() == ending:
                texts.setdefault(path.with_suffix(""), path)
    stems = ((path, path.with_suffix("")) for path in files.pictures())
    return {path: texts[stem] for path, stem in stems if stem in texts}


def captioned_pictures(files: Files, texts: Mapping[Path, Path]) -> list[Picture]:
    """Return the pictures of all splits, with the captions of their caption files, one per line.

    Raises:
        ValueError: If a caption file is not UTF-8 or has a list instead of text.
    """
    return [
        Picture(path, _captions_in(texts[path]) if path in texts else ())
        for path in files.pictures()
        if path.is_file() and files.split(path) is not None
    ]


def listed_pictures(files: Files, tables: Sequence[Table], columns: Columns) -> list[Picture]:
    """Return the pictures that metadata lists, in its order.

    Raises:
        ValueError: If a listed path is missing from the row, outside of the metadata's folder or of
            all splits, or listed twice, or a value is no text; begins with file and line.
    """
    found: dict[Path, Picture] = {}
    known = {path for path in files.paths if not path.is_symlink()}
    for table in tables:
        for row in table.rows:
            picture = _listed(row, table, files, known, columns)
            if picture.path in found:
                several = "write its captions as a list in one row of metadata.jsonl"
                raise ValueError(
                    f"{row.where}: {row.values[FILE_NAME]!r} is listed twice; "
                    f"remove a row, or {several}"
                )
            found[picture.path] = picture
    return list(found.values())


def _captions_in(path: Path) -> tuple[str, ...]:
    lines = read_text(path).splitlines()
    try:
        return captions_of([line.strip() for line in lines])
    except NotTextError as error:
        raise ValueError(f"{path}: {error}") from None


def _listed(
    row: Row, table: Table, files: Files, known: Collection[Path], columns: Columns
) -> Picture:
    name = row.values.get(FILE_NAME)
    if not isinstance(name, str) or not name:
        fix = f"add the path of the picture, relative to {table.path.parent}"
        raise ValueError(f"{row.where}: no {FILE_NAME}; {fix}")
    path, is_file = _listed_path(name, table.path.parent, known, row.where)
    if files.split(path) is None:
        splits = ", ".join(f"{root.name}/" for root in files.roots.values())
        raise ValueError(f"{row.where}: {name!r} lies in no folder of a split; move it to {splits}")
    return Picture(
        path,
        captions=_captions(row, columns.caption),
        label=_text(row, columns.label),
        attributes={
            column: text
            for column in columns.attributes
            if (text := _text(row, column)) is not None
        },
        problem=None if is_file else _missing(name, row),
    )


def _listed_path(name: str, folder: Path, known: Collection[Path], where: str) -> tuple[Path, bool]:
    """Return the path of a listed picture, without links in it, and whether it is a file."""
    path = folder / name
    if path in known and path.is_relative_to(folder):
        return path, True
    try:
        is_file, is_listable = path.is_file(), is_inside(path, folder)
    except (OSError, ValueError):  # a name that is too long, or has characters that no path has
        raise ValueError(f"{where}: {name[:40]!r} can't be a path; correct it") from None
    if not is_listable:
        raise ValueError(f"{where}: {name!r} lies outside {folder}; move it there")
    return folder / path.resolve().relative_to(folder.resolve()), is_file


def _missing(name: str, row: Row) -> str:
    fix = "; write / between folders" if "\\" in name else ""
    return f"no file {name!r}, listed in {Path(row.where).name}{fix}"


def _captions(row: Row, column: str | None) -> tuple[str, ...]:
    return () if column is None else _converted(row, column, captions_of)


def _text(row: Row, column: str | None) -> str | None:
    return None if column is None else _converted(row, column, text_of)


def _converted(row: Row, column: str, convert: Any) -> Any:
    try:
        return convert(row.values.get(column))
    except NotTextError as error:
        raise ValueError(f"{row.where}: column {column!r}: {error}") from None
