"""Contact sheets: grids of pictures with a title, headings and captions.

A sheet is a grid of blocks, and a block is a small grid of pictures with a caption. Text is drawn
as an image too, so the layout is done by stacking images.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vqpriors.core.artifact import new_file
from vqpriors.figures.scripts import missing
from vqpriors.figures.text_image import INK, PAPER, draw_text, text_width

FRAME = (212, 212, 216)  # colour
# Pixels, as are the sizes below.
MARGIN, BLOCK_GAP, GROUP_GAP, PICTURE_GAP, TEXT_GAP = 24, 20, 12, 4, 6
TITLE_SIZE, MAX_NAME_WIDTH, SHOWN_EDGE = 18, 160, 112
NO_CAPTION = "(no caption)"


@dataclass(frozen=True)
class Block:
    """Rows of pictures with a caption.

    Attributes:
        lines: The pictures of each row, (M, C, H, W) uint8 with C = 1 or 3 and M at least 1.
        caption: Text below the pictures; None for none.
        names: Text to the left of each row; empty for none.
    """

    lines: Sequence[np.ndarray]
    caption: str | None = None
    names: Sequence[str] = ()


def sheet(
    blocks: Sequence[Block], *, title: str = "", headings: Sequence[str] = (), across: int = 1
) -> Image.Image:
    """Draw blocks on a white page.

    Pictures are enlarged to about 112 px by repeating pixels a whole number of times. Text is
    wrapped to the width of its block. If no installed font has the letters of a caption, they are
    escaped and a line at the bottom says so.

    Args:
        blocks: At least one block.
        title: Text at the top; empty for none.
        headings: Texts above each of the top blocks, over equally many pictures each.
        across: Number of blocks side by side.

    Returns:
        The page, RGB.

    Raises:
        ValueError: If there is no block, a row is not (M, C, H, W) uint8 with C = 1 or 3, or the
            number of its pictures is not a multiple of the number of headings.
    """
    if not blocks:
        raise ValueError("a sheet needs at least one picture; got none")
    drawn = [_block(block, headings, is_top=i < across) for i, block in enumerate(blocks)]
    body = _stack([_beside(row, MARGIN) for row in _cut(drawn, across)], BLOCK_GAP)
    if title:
        body = _stack([draw_text(title, body.width, size=TITLE_SIZE, ink=INK), body], BLOCK_GAP)
    if note := _missing_fonts([block.caption or "" for block in blocks], [title, *headings]):
        body = _stack([body, draw_text(note, body.width)], BLOCK_GAP)
    page = _blank(body.width + 2 * MARGIN, body.height + 2 * MARGIN)
    page.paste(body, (MARGIN, MARGIN))
    return page


def captioned_sheet(
    pixels: np.ndarray, captions: Sequence[str], *, title: str = "", across: int = 1
) -> Image.Image:
    """Draw several pictures of each prompt above its caption.

    Args:
        pixels: S pictures of each of P prompts; (P, S, C, H, W) uint8.
        captions: P captions.
        title: Text at the top; empty for none.
        across: Number of prompts side by side.
    """
    prompts = zip(pixels, captions, strict=True)
    return sheet([Block([row], caption) for row, caption in prompts], title=title, across=across)


def comparison_sheet(
    pixels: np.ndarray, captions: Sequence[str], headings: Sequence[str], *, title: str = ""
) -> Image.Image:
    """Draw a row for each prompt, with a column for each condition, such as a temperature.

    Args:
        pixels: S pictures of each of P prompts under each of T conditions;
            (P, T, S, C, H, W) uint8.
        captions: P captions.
        headings: T texts, such as "temperature 0.7".
        title: Text at the top; empty for none.
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
    """Draw each picture above its reconstruction.

    Args:
        originals: (M, C, H, W) uint8.
        reconstructions: Same shape and dtype as `originals`.
        names: Names of the upper and the lower row.
        title: Text at the top; empty for none.
        columns: Number of pairs side by side.
    """
    pairs = zip(_cut(originals, columns), _cut(reconstructions, columns), strict=True)
    return sheet([Block(pair, names=names) for pair in pairs], title=title)


def grid_sheet(pixels: np.ndarray, *, title: str = "", columns: int = 8) -> Image.Image:
    """Draw pictures in a grid without captions.

    Args:
        pixels: (M, C, H, W) uint8.
        title: Text at the top; empty for none.
        columns: Number of pictures side by side.
    """
    return sheet([Block(_cut(pixels, columns))] if len(pixels) else [], title=title)


def save_png(image: Image.Image, path: Path, text: Mapping[str, Any] | None = None) -> None:
    """Write a PNG file atomically; its bytes depend on the pixels and the text only.

    Args:
        image: An image in a mode that PNG supports.
        path: The file to write; missing parent folders are created.
        text: As in `png_bytes`.
    """
    with new_file(path) as file:
        file.write_bytes(png_bytes(image, text))


def png_bytes(image: Image.Image, text: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of a PNG file.

    Args:
        image: An image in a mode that PNG supports.
        text: Text chunks by keyword; values other than texts are written as JSON.
    """
    info, file = PngInfo(), io.BytesIO()
    for keyword, value in (text or {}).items():
        info.add_itxt(keyword, value if isinstance(value, str) else json.dumps(value))
    image.save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def _missing_fonts(captions: Sequence[str], others: Sequence[str]) -> str:
    """Say which captions no installed font can show; empty if all can be shown."""
    by_caption = [missing(caption) for caption in captions]
    scripts = sorted({each for text in others for each in missing(text)}.union(*by_caption))
    if not scripts:
        return ""
    numbers = [str(number) for number, found in enumerate(by_caption, 1) if found]
    which = f"in caption{'s' * (len(numbers) > 1)} {', '.join(numbers)}" if numbers else ""
    return f"No font for {', '.join(scripts)} {which}; install one, such as Noto."


def _block(block: Block, headings: Sequence[str], *, is_top: bool) -> Image.Image:
    lines = [_line(pixels, max(1, len(headings))) for pixels in block.lines]
    grid = _stack(lines, PICTURE_GAP)
    parts = [grid]
    if headings and is_top:
        parts.insert(0, _headings(headings, grid.width))
    if block.caption is not None:
        caption = block.caption if block.caption.strip() else NO_CAPTION
        parts.append(draw_text(caption, grid.width))
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
        raise ValueError(f"{len(pixels)} pictures cannot be divided among {num_groups} headings")
    pictures = [_picture(picture) for picture in pixels]
    groups = _cut(pictures, len(pictures) // num_groups)
    return _beside([_beside(group, PICTURE_GAP) for group in groups])


def _picture(pixels: np.ndarray) -> Image.Image:
    """Enlarge (C, H, W) uint8 and add a frame, which sets white pictures off from the page."""
    scale = max(1, round(SHOWN_EDGE / max(pixels.shape[1:])))
    shown = np.broadcast_to(pixels, (3, *pixels.shape[1:])).repeat(scale, 1).repeat(scale, 2)
    framed = Image.new("RGB", (shown.shape[2] + 2, shown.shape[1] + 2), FRAME)
    framed.paste(Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0))), (1, 1))
    return framed


def _headings(headings: Sequence[str], width: int) -> Image.Image:
    width = (width + GROUP_GAP) // len(headings) - GROUP_GAP
    return _beside([draw_text(heading, width, align=0.5, ink=INK) for heading in headings])


def _names(names: Sequence[str], lines: Sequence[Image.Image]) -> Image.Image:
    width = min(MAX_NAME_WIDTH, max(map(text_width, names)))
    labels = []
    for name, line in zip(names, lines, strict=True):
        text = draw_text(name, width, align=1, ink=INK)
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
