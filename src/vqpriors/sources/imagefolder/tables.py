"""Strict reading of metadata.csv and metadata.jsonl: what is not well formed is refused."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqpriors.data.decoding import endings

FILE_NAME = "file_name"
_ESCAPE = 'write "" for a quotation mark inside of a quoted field'
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_CSV_ERRORS = {  # beginning of csv's message, ours
    "unexpected end": f"a quotation mark is not closed; close it, or {_ESCAPE}",
    "field larger": "a field has over 131,072 characters; close its quotation mark or shorten it",
    "',' expected": f"text after a closing quotation mark; {_ESCAPE}",
}


@dataclass(frozen=True)
class Row:
    """A row of metadata: file and line, such as "set/metadata.csv:3", and values by column."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Metadata of a folder: the columns of all rows, and the rows."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Row]


def read_table(path: Path) -> Table:
    """Read a metadata file.

    Raises:
        ValueError: If it is not UTF-8, malformed, has no rows or no column `file_name`; the
            message begins with the path and, where there is one, the line.
    """
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path}: empty; list the pictures, or remove it")
    columns, rows = (_read_csv if path.suffix == ".csv" else _read_jsonl)(text, path)
    if FILE_NAME not in columns:
        found = ", ".join(map(repr, columns)) or "none"
        fix = f"name the one with the pictures' paths {FILE_NAME!r}"
        raise ValueError(f"{path}: no column {FILE_NAME!r}, found {found}; {fix}")
    if not rows:
        raise ValueError(f"{path}: no rows; list the pictures, or remove it")
    return Table(path, tuple(columns), rows)


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without byte order mark.

    Raises:
        ValueError: If it has another encoding.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise ValueError(f"{path}: not UTF-8, perhaps UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise ValueError(
            f"{path}:{line}: not UTF-8 ({byte}), perhaps Latin-1; save it as UTF-8"
        ) from None


def _read_csv(text: str, path: Path) -> tuple[Sequence[str], list[Row]]:
    _refuse_other_format(text, path)
    records = _records(text, path)
    where, header = next(records, (f"{path}:1", []))
    columns = [name.strip() for name in header]
    named = [name for name in columns if name]
    if repeated := [name for name in named if named.count(name) > 1]:
        raise ValueError(f"{where}: column {repeated[0]!r} is named twice; rename one")
    if FILE_NAME not in columns:  # rows may then be anything
        return named, []
    return named, [Row(where, _csv_row(fields, columns, where)) for where, fields in records]


def _refuse_other_format(text: str, path: Path) -> None:
    header = text.lstrip().partition("\n")[0]
    if header.startswith("{"):
        raise ValueError(f"{path}:1: a JSON object; rename the file to metadata.jsonl")

    def names(delimiter: str) -> list[str]:
        return [name.strip().strip('"') for name in header.split(delimiter)]

    for delimiter, name in _DELIMITERS.items():
        if FILE_NAME in names(delimiter) and FILE_NAME not in names(","):
            raise ValueError(f"{path}:1: fields are separated by {name}; separate them by commas")


def _records(text: str, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield place and fields of each line, or of several that a quoted field joins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems = (ours for start, ours in _CSV_ERRORS.items() if str(error).startswith(start))
            raise ValueError(f"{where}: {next(problems, f'{error}; correct it')}") from None
        if any(field.strip() for field in fields):
            yield where, fields


def _csv_row(fields: list[str], columns: list[str], where: str) -> Mapping[str, str]:
    for field in fields:
        _refuse_swallowed_rows(field, where)
        if field[:1].isspace() and field.lstrip().startswith('"'):
            raise ValueError(f"{where}: a space before a quotation mark; remove the space")
    if len(fields) != len(columns):
        found = f"fields: {len(fields)}, columns: {len(columns)} ({', '.join(columns)})"
        many = "put a field that has commas in quotation marks"
        fix = many if len(fields) > len(columns) else "add the missing ones, separated by commas"
        raise ValueError(f"{where}: {found}; {fix}")
    for index, (name, field) in enumerate(zip(columns, fields, strict=True)):
        if not name and index and field.strip():  # the first may be an index, as pandas writes it
            raise ValueError(f"{where}: {field!r} is in a column without a name; name the column")
    return {name: field.strip() for name, field in zip(columns, fields, strict=True) if name}


def _refuse_swallowed_rows(field: str, where: str) -> None:
    """Refuse a quoted field that holds lines which look like rows: its quote was not closed."""
    for line in re.split(r"\r\n|\r|\n", field)[1:]:
        pieces = [piece.strip(' "') for piece in line.split(",")]
        if any(Path(piece).suffix.lower() in endings() for piece in pieces):
            raise ValueError(
                f"{where}: a quoted field goes on over rows ({line[:40]!r}); "
                f"close its quotation mark, or {_ESCAPE}"
            )


def _read_jsonl(text: str, path: Path) -> tuple[Sequence[str], list[Row]]:
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            rows.append(Row(where, _json_object(line, where)))
            columns.update(dict.fromkeys(rows[-1].values))
    return list(columns), rows


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error}); write one object per line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: not a JSON object; write one per line")
    return row


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    if len(counts) < len(pairs):
        raise ValueError(f"key {counts.most_common(1)[0][0]!r} twice")
    return dict(pairs)
