"""Conversion of a source to an image set: rows are selected, decoded, captioned and written."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from PIL import Image
from pydantic import Field, field_validator, model_validator
from tqdm import tqdm

from vqpriors.core.params import Params, Section
from vqpriors.data.decoding import BadImageError, ImageConfig, decode, fit
from vqpriors.data.images import ALL_CAPTIONS, SCHEMA, encode_png
from vqpriors.data.shards import write_split
from vqpriors.sources.base.caption_templates import MissingFieldError, caption, parse
from vqpriors.sources.base.notes import Seen, unused_splits
from vqpriors.sources.base.source import Record, Source
from vqpriors.sources.base.splits import Selection, Splits, select

QUARANTINE = "quarantine.jsonl"


class DecodingConfig(Section):
    """`data.decoding` of params.yaml, for all data sets.

    Attributes:
        max_pixels: Largest width x height of a picture that is decoded.
        max_bad_share: Largest share of bad rows in a split, 0 to 1.
        rows_per_shard: Rows of a shard.
    """

    max_pixels: int = Field(ge=1, le=Image.MAX_IMAGE_PIXELS or 89_478_485)
    max_bad_share: float = Field(ge=0, le=1)
    rows_per_shard: int = Field(ge=1)


class DatasetConfig(Section):
    """A data set's section of params.yaml, without the section of its source.

    Attributes:
        source: Module of `vqpriors.sources`.
        image: Format of the pictures.
        caption: Template of captions for rows without one; None for none.
        captions: Of a picture's several captions: "first", or "random", one drawn in each epoch of
            the prior's training.
        limit: Largest number of rows of each split; None for all.
        splits: The source's split from which each split is taken.
    """

    source: str
    image: ImageConfig
    caption: str | None
    captions: Literal["first", "random"]
    limit: int | None = Field(ge=1)
    splits: Splits

    @model_validator(mode="before")
    @classmethod
    def _drop_source_config(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key != values.get("source")}

    @field_validator("caption")
    @classmethod
    def _is_template(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)
        return value


@dataclass(frozen=True)
class BadRow:
    """A rejected row, as written to quarantine.jsonl.

    Attributes:
        split: Split of the image set.
        index: Index in the source's split.
        id: Id of the record.
        reason: Why it was rejected.
    """

    split: str
    index: int
    id: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """Contents of a written image set.

    Attributes:
        rows: Number of written rows of each split.
        quarantined: Number of rejected rows of each split.
        shape: Shape (C, H, W) of each picture.
        notes: What is not used, or only in part.
    """

    rows: dict[str, int]
    quarantined: dict[str, int]
    shape: tuple[int, int, int]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        rows = ", ".join(f"{count:,} {split}" for split, count in self.rows.items())
        shape = " x ".join(str(edge) for edge in self.shape)
        quarantined = f"{sum(self.quarantined.values())} quarantined"
        return "; ".join([rows, shape, quarantined, *self.notes])


def section_path(params: Params) -> str:
    """Return the dotted path of the chosen data set's section, such as "data.mnist".

    Raises:
        ValueError: If there is no such section; lists the available ones.
    """
    name = params.value("data.name", str)
    sections = params.raw("data")
    names = [
        key for key, value in sections.items() if isinstance(value, dict) and "source" in value
    ]
    if name not in names:
        fix = f"choose one of {', '.join(names)}" if names else "add one"
        raise ValueError(f"data.name: no data set {name!r} in params.yaml; {fix}")
    return f"data.{name}"


def prepare(
    source: Source,
    config: DatasetConfig,
    decoding: DecodingConfig,
    *,
    param: str,
    seed: int,
    folder: Path,
) -> Summary:
    """Write the pictures of a source as an image set.

    Args:
        source: The source.
        config: Working size, captions and splits.
        decoding: Limits for bad input, and the size of shards.
        param: The data set's section, such as "data.mnist", for errors.
        seed: Seed of the selection of rows.
        folder: An existing folder, usually the temporary one of `artifact.new_folder`.

    Raises:
        ValueError: If the source lacks a split, or a split is empty or has too many bad rows.
    """
    rows, bad, seen = {}, [], Seen()
    with _with_notes(source):
        selections = select(source.sizes, config.splits, limit=config.limit, seed=seed, param=param)
        for split, selection in selections.items():
            table, bad_of_split = _split(source, split, selection, config, decoding, param, seen)
            write_split(folder, split, table, rows_per_shard=decoding.rows_per_shard)
            rows[split] = table.num_rows
            bad.extend(bad_of_split)
    quarantined = dict.fromkeys(rows, 0) | Counter(row.split for row in bad)
    size = config.image.size
    used = {selection.source_split for selection in selections.values()}
    notes = [
        *source.notes,
        *unused_splits(source.sizes, used, param),
        *seen.notes(config.captions, sum(rows.values()), param),
    ]
    summary = Summary(rows, quarantined, (config.image.channels, size, size), notes)
    _write_report(folder, source, config, summary, bad, param)
    return summary


@contextmanager
def _with_notes(source: Source) -> Iterator[None]:
    """Add to errors what the source did not use, which is often their cause."""
    try:
        yield
    except ValueError as error:
        if not source.notes:
            raise
        raise ValueError(f"{error} ({'; '.join(source.notes)})") from None


def _split(
    source: Source,
    split: str,
    selection: Selection,
    config: DatasetConfig,
    decoding: DecodingConfig,
    param: str,
    seen: Seen,
) -> tuple[pa.Table, list[BadRow]]:
    records = source.records(selection.source_split, selection.rows)
    total = len(selection.rows)
    good: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    progress = tqdm(zip(selection.rows, records, strict=True), split, total, disable=None)
    for index, record in progress:
        try:
            good.append(_row(record, config, decoding))
            seen.add(record, good[-1])
        except (BadImageError, MissingFieldError) as error:
            bad.append(BadRow(split, index, record.id, str(error)))
            if len(bad) > decoding.max_bad_share * total:
                raise ValueError(_too_many(bad, total, error, param)) from None
    if not good:
        raise ValueError(f"{param}: every {split} row is bad (first: {bad[0].reason})")
    has_several = any(len(row[ALL_CAPTIONS.name]) > 1 for row in good)
    keeps_all = split == "train" and config.captions == "random" and has_several
    schema = SCHEMA.append(ALL_CAPTIONS) if keeps_all else SCHEMA
    return pa.Table.from_pylist(good, schema=schema), bad


def _row(record: Record, config: DatasetConfig, decoding: DecodingConfig) -> dict[str, Any]:
    image = record.image
    if record.problem is not None:
        raise BadImageError(record.problem)
    if not isinstance(image, Image.Image):
        image = decode(image, max_pixels=decoding.max_pixels, param="data.decoding.max_pixels")
    attributes = dict(record.attributes)
    label = {} if record.label is None else {"label": record.label}
    text = _caption(record, config.caption, label | attributes)
    return {
        "id": record.id,
        "group": record.id if record.group is None else record.group,
        "image": encode_png(fit(image, config.image)),
        "caption": text,
        "label": record.label,
        "attributes": list((attributes or label).items()),
        ALL_CAPTIONS.name: [text, *record.other_captions],
    }


def _caption(record: Record, template: str | None, fields: Mapping[str, str]) -> str:
    if record.caption is not None:
        return record.caption
    return "" if template is None else caption(template, fields)


def _too_many(bad: list[BadRow], total: int, error: Exception, param: str) -> str:
    first = bad[0]
    is_template = isinstance(error, MissingFieldError)
    key = f"{param}.caption" if is_template else "data.decoding.max_bad_share"
    fix = "repair the source or raise the share"
    if is_template:
        fix = "correct the template, or set it to null for no captions"
    count = f"at least {len(bad)} of {total} {first.split} rows are bad"
    return f"{key}: {count} (first: row {first.index}, {first.id}: {first.reason}); {fix}"


def _write_report(
    folder: Path,
    source: Source,
    config: DatasetConfig,
    summary: Summary,
    bad: list[BadRow],
    param: str,
) -> None:
    report = {
        "name": param.rpartition(".")[2],
        "source": config.source,
        "image_size": config.image.size,
        "channels": config.image.channels,
        "resize": config.image.resize,
        "background": config.image.background,
        "splits": summary.rows,
        "quarantined": summary.quarantined,
        "provenance": source.provenance,
    }
    (folder / "source.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / QUARANTINE).write_text("".join(_lines(bad)))


def _lines(bad: list[BadRow]) -> Iterator[str]:
    for row in bad:
        yield json.dumps(vars(row)) + "\n"
