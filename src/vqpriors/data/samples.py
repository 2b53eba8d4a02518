"""Drawn pictures on disk: a PNG each, and a table with their codes and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vqpriors.core.artifact import new_folder, verify
from vqpriors.data.images import decode_pixels, encode_png
from vqpriors.data.tokens import TokenSet, TokenSpec, parse_tokens, token_table

TABLE, CAPTIONS, COMPARISONS = "samples.parquet", "captions.parquet", "steps.parquet"
SHEETS = "sheets.parquet"


@dataclass(frozen=True)
class Prompt:
    """What a picture was drawn for.

    Attributes:
        caption: The text.
        id: The picture of the test split whose caption it is; "" where there is none.
    """

    caption: str
    id: str


class WrittenCaption(NamedTuple):
    """A caption that the prior wrote for a test picture.

    Attributes:
        id: The picture's.
        caption: The picture's own caption.
        written: The prior's.
    """

    id: str
    caption: str
    written: str


@dataclass(frozen=True)
class Comparison:
    """The same prompts, drawn in some number of steps.

    Attributes:
        steps: Passes over a picture.
        prompts: What each of the M pictures was drawn for.
        pixels: (M, C, H, W) uint8.
    """

    steps: int
    prompts: list[Prompt]
    pixels: np.ndarray


class SheetRow(NamedTuple):
    """A picture of a sheet, as codes.

    Attributes:
        sheet: The sheet, such as "temperatures".
        condition: What distinguishes its pictures, such as "temperature 0.5" or "completion".
        caption: The prompt.
        codes: N codes.
        keep: For an edit, True where a code was given; empty otherwise.
    """

    sheet: str
    condition: str
    caption: str
    codes: list[int]
    keep: list[bool]


def choose_prompts(prompts: Sequence[str], test: TokenSet, *, limit: int) -> list[Prompt]:
    """Return the given prompts, or where there are none, captions of the test split.

    Args:
        prompts: What the user asked for; may be empty.
        test: The test split.
        limit: Most captions of the test split, spread evenly over it.
    """
    if prompts:
        return [Prompt(caption, "") for caption in prompts]
    rows = np.linspace(0, len(test) - 1, min(limit, len(test))).round().astype(int)
    return [Prompt(test.captions[row], test.ids[row]) for row in rows]


def write_samples(
    path: Path,
    prompts: Sequence[Prompt],
    *,
    pixels: np.ndarray,
    codes: np.ndarray,
    spec: TokenSpec,
    written: Sequence[WrittenCaption] = (),
    compared: Sequence[Comparison] = (),
    sheets: Sequence[SheetRow] = (),
) -> None:
    """Write a folder of drawn pictures.

    Args:
        path: The folder to make or replace.
        prompts: What each of the M pictures was drawn for.
        pixels: (M, C, H, W) uint8.
        codes: (M, N) integers.
        spec: What the codes mean.
        written: Captions of the prior's own.
        compared: Pictures drawn in different numbers of steps.
        sheets: Pictures of sheets.
    """
    names = [f"pictures/{row:05d}.png" for row in range(len(prompts))]
    captions, ids = [p.caption for p in prompts], [p.id for p in prompts]
    table = token_table(spec, ids=ids, captions=captions, codes=codes)
    with new_folder(path) as folder:
        (folder / "pictures").mkdir()
        for name, picture in zip(names, pixels, strict=True):
            (folder / name).write_bytes(encode_png(picture))
        pq.write_table(table.append_column("file", pa.array(names)), folder / TABLE)
        pq.write_table(_caption_table(written), folder / CAPTIONS)
        pq.write_table(_comparison_table(compared), folder / COMPARISONS)
        pq.write_table(_sheet_table(sheets), folder / SHEETS)


def read_samples(folder: Path, *, tokenizer: str) -> tuple[list[Prompt], np.ndarray, TokenSet]:
    """Read what `write_samples` wrote: prompts, (M, C, H, W) uint8 pictures, codes.

    Raises:
        ValueError: If the folder is damaged or its codes are not the given tokenizer's.
    """
    verify(folder)
    table = pq.read_table(folder / TABLE)
    tokens = parse_tokens(table, source=str(folder / TABLE), tokenizer=tokenizer)
    files = table.column("file").to_pylist()
    pixels = np.stack([decode_pixels((folder / name).read_bytes()) for name in files])
    prompts = [Prompt(c, i) for c, i in zip(tokens.captions, tokens.ids, strict=True)]
    return prompts, pixels, tokens


def read_captions(folder: Path) -> list[WrittenCaption]:
    """Read the prior's own captions from what `write_samples` wrote; none if it wrote none."""
    verify(folder)
    return [WrittenCaption(**row) for row in pq.read_table(folder / CAPTIONS).to_pylist()]


def read_comparisons(folder: Path) -> list[Comparison]:
    """Read the pictures drawn in different numbers of steps from what `write_samples` wrote."""
    verify(folder)
    rows = pq.read_table(folder / COMPARISONS).to_pylist()
    found = []
    for steps in dict.fromkeys(row["steps"] for row in rows):
        own = [row for row in rows if row["steps"] == steps]
        prompts = [Prompt(row["caption"], row["id"]) for row in own]
        pixels = np.stack([decode_pixels(row["image"]) for row in own])
        found.append(Comparison(steps, prompts, pixels))
    return found


def read_sheets(folder: Path) -> list[SheetRow]:
    """Read the pictures of sheets from what `write_samples` wrote."""
    verify(folder)
    return [SheetRow(**row) for row in pq.read_table(folder / SHEETS).to_pylist()]


def _caption_table(written: Sequence[WrittenCaption]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in written] for name in WrittenCaption._fields}
    return pa.table(columns, schema=pa.schema({name: pa.string() for name in columns}))


def _comparison_table(compared: Sequence[Comparison]) -> pa.Table:
    rows = [
        {
            "steps": part.steps,
            "id": prompt.id,
            "caption": prompt.caption,
            "image": encode_png(pixels),
        }
        for part in compared
        for prompt, pixels in zip(part.prompts, part.pixels, strict=True)
    ]
    types = {"steps": pa.int64(), "id": pa.string(), "caption": pa.string(), "image": pa.binary()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def _sheet_table(rows: Sequence[SheetRow]) -> pa.Table:
    types = {name: pa.string() for name in ("sheet", "condition", "caption")}
    types |= {"codes": pa.list_(pa.uint16()), "keep": pa.list_(pa.bool_())}
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=pa.schema(types))
