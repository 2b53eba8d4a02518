"""Characters of all scripts: clusters, the fonts that have them, and escapes where none does."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont, features

from vqpriors.figures.fonts import fallback_fonts, has_glyph, load_font

TEXT_SIZE = 13  # pixels
MAX_CHARACTERS = 4000
ELLIPSIS = "…"
_JOINERS = "\u200c\u200d"
_SHAPED = ((0x0590, 0x0E00), (0x0F00, 0x1100), (0x1780, 0x1880), (0xFB1D, 0xFE00))
"""Ranges of scripts that are written from the right, or whose letters join or change places."""


@dataclass(frozen=True)
class Piece:
    """Text in one font.

    Attributes:
        text: The text.
        font: File of the font; None for that of Pillow.
        direction: "L" or "R" as its first letter is written; "N" without letters.
    """

    text: str
    font: Path | None
    direction: str


def is_plain(text: str) -> bool:
    """Return whether the font of Pillow has all characters, once `plain` has replaced some."""
    return all(_is_basic(character) for character in plain(text))


def plain(text: str) -> str:
    """Remove accents and control characters and simplify dashes."""
    decomposed = unicodedata.normalize("NFKD", text[:MAX_CHARACTERS])
    return "".join(map(_plain_character, decomposed))


def words(text: str) -> list[str]:
    """Split text at spaces and control characters; accents are kept."""
    composed = unicodedata.normalize("NFC", text[:MAX_CHARACTERS])
    return "".join(map(_visible, composed)).split()


def clusters(word: str) -> list[str]:
    """Split a word where a line can be broken: a letter keeps its marks, an emoji its parts."""
    found: list[str] = []
    for character in word:
        if found and (_extends(character) or found[-1].endswith("\u200d")):
            found[-1] += character
        else:
            found.append(character)
    return found


@cache
def pieces(word: str) -> tuple[Piece, ...]:
    """Choose the fonts of a word: one for all of it if possible, and escapes for the rest."""
    if word.endswith(ELLIPSIS):  # of truncated text
        return (*(pieces(word[:-1]) if word[:-1] else ()), Piece(ELLIPSIS, None, "N"))
    if is_plain(word):
        return (_piece(plain(word), None),)
    if font := _font_of(word):
        return (_piece(word, font),)
    return tuple(_in_parts(word))


def missing(text: str) -> list[str]:
    """Name the scripts of characters that no font has, such as "Devanagari"; sorted."""
    if is_plain(text):
        return []
    found = {
        _script(cluster[0])
        for word in words(text)
        if not is_plain(word) and not _font_of(word)
        for cluster in clusters(word)
        if not is_plain(cluster) and not _font_of(cluster)
    }
    return sorted(found)


def direction(text: str) -> str:
    """Return "L" or "R" as the first letter is written; "N" without letters."""
    for character in text:
        if (kind := unicodedata.bidirectional(character)) in ("L", "R", "AL"):
            return kind[0] if kind != "AL" else "R"
    return "N"


def _in_parts(word: str) -> Iterator[Piece]:
    text, font = "", None
    for cluster in clusters(word):
        own = None if is_plain(cluster) else (font and _covers(font, cluster) and font)
        own = own or (None if is_plain(cluster) else _font_of(cluster))
        shown = cluster if own else plain(cluster) if is_plain(cluster) else _escape(cluster)
        if text and own != font:
            yield _piece(text, font)
            text = ""
        text, font = text + shown, own
    if text:
        yield _piece(text, font)


def _piece(text: str, font: Path | None) -> Piece:
    if not features.check("raqm"):  # which hides them
        text = "".join(character for character in text if not _is_ignorable(character))
    return Piece(text, font, direction(text))


@cache
def _font_of(text: str) -> Path | None:
    if any(map(_is_shaped, text)) and not features.check("raqm"):
        return None
    fonts = (font for font in fallback_fonts() if _covers(font, text))
    return next((font for font in fonts if load_font(font, TEXT_SIZE)), None)


def _covers(font: Path, text: str) -> bool:
    return all(has_glyph(font, character) for character in text if not _is_ignorable(character))


def _escape(cluster: str) -> str:
    """Write symbols by their names and other characters by their code points."""
    shown = []
    for character in cluster:
        name = unicodedata.name(character, "")
        if _is_ignorable(character) or unicodedata.category(character) == "Sk":
            continue
        if name and unicodedata.category(character) in ("So", "Sm", "Sc"):
            shown.append(f"[{name.lower()}]")
        else:
            code = ord(character)
            shown.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(shown)


def _script(character: str) -> str:
    if unicodedata.category(character).startswith("S"):
        return "symbols"
    name = unicodedata.name(character, "other").split()[0]
    return {"CJK": "Chinese"}.get(name, name.capitalize())


def _extends(character: str) -> bool:
    is_mark = unicodedata.category(character).startswith("M")
    return is_mark or character in _JOINERS or 0x1F3FB <= ord(character) <= 0x1F3FF


def _is_ignorable(character: str) -> bool:
    return character in _JOINERS or 0xFE00 <= ord(character) <= 0xFE0F


def _is_shaped(character: str) -> bool:
    return any(start <= ord(character) < end for start, end in _SHAPED)


def _visible(character: str) -> str:
    is_hidden = unicodedata.category(character).startswith(("C", "Z"))
    return " " if is_hidden and character not in _JOINERS else character


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Mn":
        return ""
    if category.startswith(("C", "Z")):
        return " "
    return "-" if category == "Pd" else character


@cache
def _is_basic(character: str) -> bool:
    """Compare a character with one that no font has, which is drawn as a box."""
    font = ImageFont.load_default(16)
    drawn: Any
    box: Any
    drawn, box = font.getmask(character), font.getmask("\uffff")
    return character.isspace() or (drawn.size, bytes(drawn)) != (box.size, bytes(box))
