"""Text as images, wrapped and truncated; any string is accepted.

Text that the font of Pillow has, once accents are removed, is drawn in it, so that sheets look the
same on all machines. Other scripts are drawn in installed fonts, and escaped where there is none.
Scripts from the right and of India need libraqm, which Pillow's wheels include.
"""

from collections.abc import Iterator
from functools import cache
from itertools import accumulate, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, features

from vqpriors.figures.fonts import load_font
from vqpriors.figures.scripts import (
    ELLIPSIS,
    TEXT_SIZE,
    Piece,
    clusters,
    is_plain,
    pieces,
    plain,
    words,
)

PAPER = (255, 255, 255)
INK, SOFT_INK = (24, 24, 27), (82, 82, 91)
MAX_LINES = 3


def draw_text(
    text: str,
    width: int,
    *,
    size: int = TEXT_SIZE,
    ink: tuple[int, int, int] = SOFT_INK,
    align: float = 0,
) -> Image.Image:
    """Draw text, wrapped between words if possible and truncated after three lines.

    Args:
        text: Any text; control characters become spaces.
        width: Width of the image, pixels.
        size: Font size, pixels.
        ink: Text colour, RGB.
        align: 0 for left, 0.5 for centred, 1 for right.

    Returns:
        An RGB image of at least one line.
    """
    if is_plain(text):
        text = plain(text)
    lines = _fit(words(text), width, size)
    known = (piece.direction for word in words(text) for piece in pieces(word))
    is_from_right = next((kind for kind in known if kind != "N"), "L") == "R"
    if is_from_right and align == 0:
        align = 1
    ascent, descent = _metrics(lines, size)
    height = ascent + descent + 2
    image = Image.new("RGB", (width, height * len(lines)), PAPER)
    for i, line in enumerate(lines):
        left = align * (width - _length(line, size))
        for piece in _in_order(line, is_from_right=is_from_right):
            _draw(image, piece, left, i * height + ascent, size, ink)
            left += _piece_length(piece, size)
    return image


def text_width(text: str) -> int:
    """Return the width of text on a single line at the default size, pixels."""
    if is_plain(text):
        return int(_font(None, TEXT_SIZE).getlength(plain(text))) + 1
    return int(_length(words(text), TEXT_SIZE)) + 1


def _fit(text: list[str], width: int, size: int) -> list[list[str]]:
    lines = list(islice(_wrap(text, width, size), MAX_LINES + 1))
    if len(lines) <= MAX_LINES:
        return lines or [[]]
    *last, end = lines[MAX_LINES - 1]
    while end and _length([*last, end + ELLIPSIS], size) > width:
        end = "".join(clusters(end)[:-1])
        if not end and last:
            *last, end = last
    return [*lines[: MAX_LINES - 1], [*last, end + ELLIPSIS]]


def _wrap(text: list[str], width: int, size: int) -> Iterator[list[str]]:
    line: list[str] = []
    for word in text:
        for part in _parts(word, width, size):
            if line and _length([*line, part], size) > width:
                yield line
                line = []
            line = [*line, part]
    if line:
        yield line


def _parts(word: str, width: int, size: int) -> Iterator[str]:
    """Break a word that is wider than the line."""
    rest = clusters(word)
    while len(rest) > 1 and _length(["".join(rest)], size) > width:
        end = 1
        while _length(["".join(rest[: end + 1])], size) <= width:
            end += 1
        yield "".join(rest[:end])
        rest = rest[end:]
    yield "".join(rest)


def _in_order(line: list[str], *, is_from_right: bool) -> list[Piece]:
    """Arrange the pieces of a line from left to right.

    Whole pieces are arranged here, the letters of a piece by libraqm.

    Reference:
        Unicode Standard Annex 9, the bidirectional algorithm (with two levels).
    """
    found = _pieces(line)
    kinds, other = [piece.direction for piece in found], "L" if is_from_right else "R"
    before = accumulate(kinds, _last_known)
    after = list(accumulate(reversed(kinds), _last_known))[::-1]
    is_other = [one == two == other for one, two in zip(before, after, strict=True)]
    ordered: list[Piece] = []
    for is_run, group in groupby(zip(is_other, found, strict=True), key=itemgetter(0)):
        run = [piece for _, piece in group]
        ordered += run[::-1] if is_run else run
    return ordered[::-1] if is_from_right else ordered


def _last_known(last: str, direction: str) -> str:
    return last if direction == "N" else direction


def _pieces(line: list[str]) -> list[Piece]:
    """Return the pieces of words with spaces between them, joined for kerning if all is plain."""
    space = Piece(" ", None, "N")
    found = [piece for word in line for piece in (space, *pieces(word))][1:]
    if any(piece.font for piece in found):
        return found
    return [Piece("".join(piece.text for piece in found), None, "L")]


def _length(line: list[str], size: int) -> float:
    return sum(_piece_length(piece, size) for piece in _pieces(line))


@cache
def _piece_length(piece: Piece, size: int) -> float:
    font = _font(piece.font, size)
    return font.getlength(piece.text, **_options(piece)) * size / font.size


def _metrics(lines: list[list[str]], size: int) -> tuple[int, int]:
    """Return the largest ascent and descent of all fonts, pixels."""
    fonts = {piece.font for line in lines for piece in _pieces(line)} | {None}
    found = []
    for font in (_font(path, size) for path in fonts):
        ascent, descent = font.getmetrics()
        found.append((round(ascent * size / font.size), round(descent * size / font.size)))
    return max(ascent for ascent, _ in found), max(descent for _, descent in found)


def _draw(
    image: Image.Image,
    piece: Piece,
    left: float,
    baseline: int,
    size: int,
    ink: tuple[int, int, int],
) -> None:
    font = _font(piece.font, size)
    if piece.font is None:
        top = baseline - font.getmetrics()[0]
        ImageDraw.Draw(image).text((left, top), piece.text, font=font, fill=ink)
        return
    options = {"font": font, "fill": ink, "anchor": "ls", **_options(piece)}
    if font.size == size:
        place, is_colored = (left, baseline), "emoji" in piece.font.stem.lower()
        draw = ImageDraw.Draw(image)
        draw.text(place, piece.text, embedded_color=is_colored, **options)
        return
    ascent, descent = font.getmetrics()  # a bitmap font: drawn in its own size and reduced
    length = max(1, round(font.getlength(piece.text, **_options(piece))))
    large = Image.new("RGB", (length, ascent + descent), PAPER)
    ImageDraw.Draw(large).text((0, ascent), piece.text, embedded_color=True, **options)
    scale = size / font.size
    small = large.resize((max(1, round(length * scale)), max(1, round(large.height * scale))))
    image.paste(small, (round(left), baseline - round(ascent * scale)))


def _options(piece: Piece) -> dict[str, Any]:
    if piece.font is None or not features.check("raqm"):
        return {}
    return {"direction": "rtl" if piece.direction == "R" else "ltr"}


@cache
def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if path is None else load_font(path, size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
