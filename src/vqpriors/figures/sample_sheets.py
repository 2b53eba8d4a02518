"""Sheets of a run: samples, temperatures, edits, reconstructions and random codes."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from vqpriors.core.seeds import derived_seed
from vqpriors.data.pixels import HIDDEN_GRAY, upscale_cells
from vqpriors.data.samples import SheetRow
from vqpriors.data.tokens import TokenSet
from vqpriors.figures import sheets

NUM_PICTURES = 32  # on the sheets of reconstructions and of random codes

Decode = Callable[[np.ndarray], np.ndarray]
"""Decodes (M, N) integer codes to (M, C, H, W) uint8 pixels."""


def draw_sheets(
    rows: Sequence[SheetRow], *, decode: Decode, real: TokenSet, originals: np.ndarray, seed: int
) -> dict[str, Image.Image]:
    """Draw all sheets.

    Args:
        rows: Pictures that the `sample` stage drew for sheets, as codes.
        decode: The tokenizer's decoder.
        real: Codes and captions of the evaluated split.
        originals: Pictures of that split, (M, C, H, W) uint8.
        seed: Seed of the random codes.

    Returns:
        The sheets by name.
    """
    spec = real.spec
    generator = np.random.default_rng(derived_seed(seed, "random codes"))
    random_codes = generator.integers(spec.codebook_size, size=(NUM_PICTURES, spec.length))
    by_sheet = {
        name: [row for row in rows if row.sheet == name]
        for name in ("samples", "temperatures", "edits")
    }
    return {
        "samples": _samples(by_sheet["samples"], decode),
        "temperatures": _temperatures(by_sheet["temperatures"], decode),
        "edits": _edits(by_sheet["edits"], decode, real),
        "reconstructions": sheets.pair_sheet(
            originals[:NUM_PICTURES], decode(real.codes[:NUM_PICTURES])
        ),
        "random_codes": sheets.grid_sheet(decode(random_codes)),
    }


def _samples(rows: Sequence[SheetRow], decode: Decode) -> Image.Image:
    captions = list(dict.fromkeys(row.caption for row in rows))
    return sheets.captioned_sheet(_by_caption(rows, captions, decode), captions, across=2)


def _temperatures(rows: Sequence[SheetRow], decode: Decode) -> Image.Image:
    captions = list(dict.fromkeys(row.caption for row in rows))
    conditions = list(dict.fromkeys(row.condition for row in rows))
    columns = [
        _by_caption([row for row in rows if row.condition == condition], captions, decode)
        for condition in conditions
    ]
    return sheets.comparison_sheet(np.stack(columns, axis=1), captions, conditions)


def _edits(rows: Sequence[SheetRow], decode: Decode, real: TokenSet) -> Image.Image:
    """Draw each edit of the first pictures of the split: the given part, then the result."""
    grid = (real.spec.rows, real.spec.columns)
    conditions = list(dict.fromkeys(row.condition for row in rows))
    originals = decode(real.codes[: len(rows) // max(1, len(conditions))])
    blocks = [sheets.Block([originals], "the pictures, reconstructed from their codes")]
    for condition in conditions:
        own = [row for row in rows if row.condition == condition]
        keep = np.array([row.keep for row in own])
        keep_pixels = upscale_cells(keep, size=originals.shape[2:], grid=grid)
        given = np.where(keep_pixels, originals, HIDDEN_GRAY).astype(np.uint8)
        blocks.append(sheets.Block([given, decode(_codes(own))], condition))
    return sheets.sheet(blocks)


def _by_caption(rows: Sequence[SheetRow], captions: Sequence[str], decode: Decode) -> np.ndarray:
    pixels = decode(_codes(rows))
    return pixels.reshape(len(captions), -1, *pixels.shape[1:])  # (P, S, C, H, W)


def _codes(rows: Sequence[SheetRow]) -> np.ndarray:
    return np.array([row.codes for row in rows])
