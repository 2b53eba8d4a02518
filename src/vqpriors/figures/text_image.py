"""Text as images, wrapped and truncated; any string is accepted.

The font is included in Pillow, so sheets look the same on all machines. It has basic Latin only:
accents are removed, and letters of other scripts appear as boxes.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice

from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK, SOFT_INK = (24, 24, 27), (82, 82, 91)
TEXT_SIZE = 13
MAX_LINES, MAX_CHARACTERS = 3, 4000
ELLIPSIS = "…"


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
    font = _font(size)
    lines = _fit(text, width, font)
    height = sum(font.getmetrics()) + 2
    image = Image.new("RGB", (width, height * len(lines)), PAPER)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((align * (width - font.getlength(line)), i * height), line, font=font, fill=ink)
    return image


def text_width(text: str) -> int:
    """Return the width of text on a single line at the default size, pixels."""
    return int(_font(TEXT_SIZE).getlength(_plain(text))) + 1


def _fit(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = list(islice(_wrap(_plain(text), width, font), MAX_LINES + 1))
    if len(lines) <= MAX_LINES:
        return lines or [""]
    last = lines[MAX_LINES - 1]
    while last and font.getlength(last + ELLIPSIS) > width:
        last = last[:-1].rstrip()
    return [*lines[: MAX_LINES - 1], last + ELLIPSIS]


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    line = ""
    for word in text.split():
        for piece in _pieces(word, width, font):
            longer = f"{line} {piece}" if line else piece
            if line and font.getlength(longer) > width:
                yield line
                longer = piece
            line = longer
    if line:
        yield line


def _pieces(word: str, width: int, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    while font.getlength(word) > width and len(word) > 1:
        end = 1
        while font.getlength(word[: end + 1]) <= width:
            end += 1
        yield word[:end]
        word = word[end:]
    yield word


def _plain(text: str) -> str:
    """Replace characters that the font lacks: accents, dashes and control characters."""
    return "".join(map(_character, unicodedata.normalize("NFKD", text[:MAX_CHARACTERS])))


def _character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Mn":
        return ""
    if category.startswith(("C", "Z")):
        return " "
    return "-" if category == "Pd" else character


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
