"""Sampled pictures on disk: a PNG each, and tables of their prompts, codes and captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vqpriors.core.artifact import new_folder, verify
from vqpriors.data.images import decode_pixels, encode_png
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import TokenSet, parse_tokens, token_table

TABLE, CAPTIONS, COMPARISONS = "samples.parquet", "captions.parquet", "steps.parquet"
SHEETS = "sheets.parquet"

HeldOut = Literal["validation", "test"]
"""The splits that are not trained on."""


@dataclass(frozen=True)
class Prompt:
    """The prompt of a sampled picture.

    Attributes:
        caption: Its text.
        id: Id of the real picture that has this caption; "" for a prompt of the user.
    """

    caption: str
    id: str


class WrittenCaption(NamedTuple):
    """A caption that the prior generated for a real picture.

    Attributes:
        id: Id of the picture.
        caption: The picture's own caption.
        written: The generated caption.
    """

    id: str
    caption: str
    written: str


@dataclass(frozen=True)
class Comparison:
    """Samples of fixed prompts at one number of decoding steps, to compare with other numbers.

    Attributes:
        steps: Decoding steps per picture.
        prompts: Prompts of the M pictures.
        pixels: (M, C, H, W) uint8.
    """

    steps: int
    prompts: list[Prompt]
    pixels: np.ndarray


class SheetRow(NamedTuple):
    """A picture of a sheet, as codes.

    Attributes:
        sheet: Name of the sheet, such as "temperatures".
        condition: Setting of this picture, such as "temperature 0.5" or "completion".
        caption: The prompt.
        codes: N codes.
        keep: For an edit, True where a code was given; otherwise empty.
    """

    sheet: str
    condition: str
    caption: str
    codes: list[int]
    keep: list[bool]


def choose_prompts(prompts: Sequence[str], real: TokenSet, *, limit: int) -> list[Prompt]:
    """Return the given prompts or, if there are none, captions of the evaluated split.

    Args:
        prompts: The user's prompts; may be empty.
        real: The evaluated split.
        limit: Maximum number of captions, evenly spaced over the split.
    """
    if prompts:
        return [Prompt(caption, "") for caption in prompts]
    rows = np.linspace(0, len(real) - 1, min(limit, len(real))).round().astype(int)
    return [Prompt(real.captions[row], real.ids[row]) for row in rows]


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
    """Write a folder of sampled pictures.

    Args:
        path: The folder to create or replace.
        prompts: Prompts of the M pictures.
        pixels: (M, C, H, W) uint8.
        codes: (M, N) integers.
        spec: Grid and codebook of the codes.
        written: Captions that the prior generated.
        compared: Samples at different numbers of decoding steps.
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
    """Read the samples: M prompts, (M, C, H, W) uint8 pictures, and codes.

    Raises:
        ValueError: If the folder is damaged or its codes are from another tokenizer.
    """
    verify(folder)
    table = pq.read_table(folder / TABLE)
    tokens = parse_tokens(table, source=str(folder / TABLE), tokenizer=tokenizer)
    files = table.column("file").to_pylist()
    pixels = np.stack([decode_pixels((folder / name).read_bytes()) for name in files])
    prompts = [Prompt(c, i) for c, i in zip(tokens.captions, tokens.ids, strict=True)]
    return prompts, pixels, tokens


def read_captions(folder: Path) -> list[WrittenCaption]:
    """Read the captions that the prior generated; empty if there are none."""
    verify(folder)
    return [WrittenCaption(**row) for row in pq.read_table(folder / CAPTIONS).to_pylist()]


def read_comparisons(folder: Path) -> list[Comparison]:
    """Read the samples at different numbers of decoding steps; empty if there are none."""
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
    """Read the pictures of sheets."""
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
