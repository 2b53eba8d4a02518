"""Sheets of pictures with titles, headings and captions, to be read like a figure in a paper.

A sheet is made of blocks, small grids with a caption; everything else is a way to cut pictures into
blocks. A layout is nothing but images stacked and set side by side, text among them.
"""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqpriors.figures.text_image import INK, PAPER, lettering, text_width

FRAME = (212, 212, 216)
MARGIN, BLOCK_GAP, GROUP_GAP, PICTURE_GAP, TEXT_GAP = 24, 20, 12, 4, 6
TITLE_SIZE, MAX_NAME_WIDTH, SHOWN_EDGE = 18, 160, 112
NO_CAPTION = "(no caption)"


@dataclass(frozen=True)
class Block:
    """Lines of pictures, with what is said of them.

    Attributes:
        lines: Each (M, C, H, W) uint8 with C = 1 or 3 and M at least 1.
        caption: Text below them, any; None for none.
        names: A text to the left of each line; empty for none.
    """

    lines: Sequence[np.ndarray]
    caption: str | None = None
    names: Sequence[str] = ()


def sheet(
    blocks: Sequence[Block], *, title: str = "", headings: Sequence[str] = (), across: int = 1
) -> Image.Image:
    """Draw blocks on a white page.

    Pictures are enlarged by the whole number that brings them nearest to 112 px, each pixel kept as
    it is. Text is wrapped to what it belongs to.

    Args:
        blocks: At least one.
        title: Text above all; empty for none.
        headings: Texts above the uppermost blocks, each over as many pictures of a line.
        across: Blocks side by side.

    Returns:
        The page, RGB.

    Raises:
        ValueError: If there is no block, a line isn't (M, C, H, W) uint8 with C = 1 or 3, or its
            pictures can't be shared out evenly among the headings.
    """
    if not blocks:
        raise ValueError("a sheet needs at least one picture; got none")
    drawn = [_block(block, headings, is_top=i < across) for i, block in enumerate(blocks)]
    body = _stack([_beside(row, MARGIN) for row in _cut(drawn, across)], BLOCK_GAP)
    if title:
        body = _stack([lettering(title, body.width, size=TITLE_SIZE, ink=INK), body], BLOCK_GAP)
    page = _blank(body.width + 2 * MARGIN, body.height + 2 * MARGIN)
    page.paste(body, (MARGIN, MARGIN))
    return page


def captioned_sheet(
    pixels: np.ndarray, captions: Sequence[str], *, title: str = "", across: int = 1
) -> Image.Image:
    """Draw several pictures of each prompt over its caption.

    Args:
        pixels: (P, S, C, H, W) uint8: S pictures of each of P prompts.
        captions: P captions.
        title: Text above all; empty for none.
        across: Prompts side by side.
    """
    prompts = zip(pixels, captions, strict=True)
    return sheet([Block([row], caption) for row, caption in prompts], title=title, across=across)


def comparison_sheet(
    pixels: np.ndarray, captions: Sequence[str], headings: Sequence[str], *, title: str = ""
) -> Image.Image:
    """Draw the same prompts under several conditions, such as temperatures, one a column.

    Args:
        pixels: (P, T, S, C, H, W) uint8: S pictures of each of P prompts under each condition.
        captions: P captions.
        headings: T texts, such as "temperature 0.7".
        title: Text above all; empty for none.
    """
    rows = pixels.reshape(len(captions), -1, *pixels.shape[3:])  # (P, T * S, C, H, W)
    blocks = [Block([row], caption) for row, caption in zip(rows, captions, strict=True)]
    return sheet(blocks, title=title, headings=headings)


def pair_sheet(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    *,
    names: tuple[str, str] = ("original", "reconstruction"),
    title: str = "",
    columns: int = 8,
) -> Image.Image:
    """Draw each picture over its counterpart.

    Args:
        originals: (M, C, H, W) uint8.
        reconstructions: As `originals`.
        names: What the upper and the lower pictures are.
        title: Text above all; empty for none.
        columns: Pairs side by side.
    """
    pairs = zip(_cut(originals, columns), _cut(reconstructions, columns), strict=True)
    return sheet([Block(pair, names=names) for pair in pairs], title=title)


def grid_sheet(pixels: np.ndarray, *, title: str = "", columns: int = 8) -> Image.Image:
    """Draw pictures in a plain grid.

    Args:
        pixels: (M, C, H, W) uint8.
        title: Text above all; empty for none.
        columns: Pictures side by side.
    """
    return sheet([Block(_cut(pixels, columns))] if len(pixels) else [], title=title)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG whose bytes depend on the pixels alone; `path` holds all of it or what it held.

    Args:
        image: Any image.
        path: The file to make or replace; its parent is made where missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            image.save(file, format="PNG")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _block(block: Block, headings: Sequence[str], *, is_top: bool) -> Image.Image:
    lines = [_line(pixels, max(1, len(headings))) for pixels in block.lines]
    grid = _stack(lines, PICTURE_GAP)
    parts = [grid]
    if headings and is_top:
        parts.insert(0, _headings(headings, grid.width))
    if block.caption is not None:
        caption = block.caption if block.caption.strip() else NO_CAPTION
        parts.append(lettering(caption, grid.width))
    if block.names:
        names = _names(block.names, lines)
        parts = [_beside([names if p is grid else _blank(names.width, 1), p]) for p in parts]
    return _stack(parts, TEXT_GAP)


def _line(pixels: np.ndarray, num_groups: int) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise ValueError(
            f"expected (M, C, H, W) uint8 with C 1 or 3; got {pixels.shape} {pixels.dtype}"
        )
    if not len(pixels) or len(pixels) % num_groups:
        raise ValueError(f"{len(pixels)} pictures can't stand below {num_groups} headings")
    pictures = [_picture(picture) for picture in pixels]
    groups = _cut(pictures, len(pictures) // num_groups)
    return _beside([_beside(group, PICTURE_GAP) for group in groups])


def _picture(pixels: np.ndarray) -> Image.Image:
    """Enlarge (C, H, W) uint8; the frame parts a white picture from the page."""
    scale = max(1, round(SHOWN_EDGE / max(pixels.shape[1:])))
    shown = np.broadcast_to(pixels, (3, *pixels.shape[1:])).repeat(scale, 1).repeat(scale, 2)
    framed = Image.new("RGB", (shown.shape[2] + 2, shown.shape[1] + 2), FRAME)
    framed.paste(Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0))), (1, 1))
    return framed


def _headings(headings: Sequence[str], width: int) -> Image.Image:
    width = (width + GROUP_GAP) // len(headings) - GROUP_GAP
    return _beside([lettering(heading, width, align=0.5, ink=INK) for heading in headings])


def _names(names: Sequence[str], lines: Sequence[Image.Image]) -> Image.Image:
    width = min(MAX_NAME_WIDTH, max(map(text_width, names)))
    labels = []
    for name, line in zip(names, lines, strict=True):
        text = lettering(name, width, align=1, ink=INK)
        label = _blank(width, line.height)
        label.paste(text, (0, (line.height - text.height) // 2))
        labels.append(label)
    return _stack(labels, PICTURE_GAP)


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), PAPER)


def _stack(images: Sequence[Image.Image], gap: int) -> Image.Image:
    height = sum(image.height + gap for image in images) - gap
    stacked = _blank(max(image.width for image in images), height)
    top = 0
    for image in images:
        stacked.paste(image, (0, top))
        top += image.height + gap
    return stacked


def _beside(images: Sequence[Image.Image], gap: int = GROUP_GAP) -> Image.Image:
    width = sum(image.width + gap for image in images) - gap
    joined = _blank(width, max(image.height for image in images))
    left = 0
    for image in images:
        joined.paste(image, (left, 0))
        left += image.width + gap
    return joined


def _cut(items: Any, size: int) -> list[Any]:
    return [items[start : start + size] for start in range(0, len(items), size)]
