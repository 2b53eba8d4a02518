"""Fonts of the machine, for characters that the font of Pillow lacks.

Coverage is read from a font's character map (cmap), since Pillow does not tell which glyphs a font
has.

Reference:
    OpenType specification, "cmap - Character to Glyph Index Mapping Table".
"""

import os
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

# Stems of file names in lower case, best first; further Noto fonts follow.
PREFERRED = (
    *("dejavusans", "notosans-regular", "segoeui", "arial unicode", "arialuni"),
    *("notosanscjk-regular", "notosanscjksc-regular", "notosanssc-regular", "sourcehansans"),
    *("pingfang", "hiragino sans gb", "stheiti light", "applesdgothicneo", "msyh", "simsun"),
    *("malgun", "msgothic", "wqy-microhei", "wqy-zenhei", "droidsansfallbackfull"),
    *("notosansarabic-regular", "notonaskharabic-regular", "geezapro"),
    *("notosanshebrew-regular", "notosansdevanagari-regular", "lohit-devanagari"),
    *("nirmala", "mangal", "kohinoor", "devanagari sangam mn", "leelawui", "thonburi", "arial"),
    *("notoemoji-regular", "symbola", "seguiemj", "seguisym", "notocoloremoji"),
    *("apple color emoji", "apple symbols"),
)
BITMAP_SIZES = (109, 136, 128, 160, 96, 64)  # pixels, of the glyphs of colour emoji fonts


def fallback_fonts() -> tuple[Path, ...]:
    """List the installed fonts to try, best first."""
    return _ordered(tuple(font_folders()))


def font_folders() -> Iterator[Path]:
    """Yield the folders where the system and the user install fonts."""
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")
        yield Path(os.environ.get("LOCALAPPDATA", home), "Microsoft/Windows/Fonts")
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        own = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
        yield from (Path(folder, "fonts") for folder in (*shared.split(":"), own))
        yield home / ".fonts"


@cache
def _ordered(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    found: dict[str, Path] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                if path.suffix.lower() in (".ttf", ".ttc", ".otf"):
                    found.setdefault(path.stem.lower(), path)
    others = (stem for stem in found if stem.startswith("noto") and stem.endswith("-regular"))
    stems = dict.fromkeys([*(stem for stem in PREFERRED if stem in found), *sorted(others)])
    return tuple(found[stem] for stem in stems)


@cache
def load_font(path: Path, size: int) -> ImageFont.FreeTypeFont | None:
    """Load a font; a bitmap font in a size that it has, which may be larger.

    Returns:
        The font, or None if it can't be read.
    """
    for pixels in (size, *BITMAP_SIZES):
        try:
            return ImageFont.truetype(str(path), pixels)
        except OSError:
            continue
    return None


def has_glyph(path: Path, character: str) -> bool:
    """Return whether a font has a glyph for a character; False for a font that can't be read."""
    starts, ends = _coverage(path)
    place = bisect_right(starts, ord(character)) - 1
    return place >= 0 and ord(character) <= ends[place]


@cache
def _coverage(path: Path) -> tuple[list[int], list[int]]:
    """Return the first and last characters of the ranges with glyphs, in order."""
    try:
        ranges = sorted(_ranges(path.read_bytes()))
    except (OSError, struct.error, IndexError):
        ranges = []
    return [start for start, _ in ranges], [end for _, end in ranges]


def _ranges(data: bytes) -> Iterator[tuple[int, int]]:
    start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
    (num_tables,) = struct.unpack_from(">H", data, start + 4)
    records = (struct.unpack_from(">4sIII", data, start + 12 + 16 * i) for i in range(num_tables))
    table = next((offset for tag, _, offset, _ in records if tag == b"cmap"), len(data))
    (num_maps,) = struct.unpack_from(">H", data, table + 2)
    maps = {}
    for i in range(num_maps):
        offset = table + struct.unpack_from(">I", data, table + 8 + 8 * i)[0]
        maps[struct.unpack_from(">H", data, offset)[0]] = offset
    if 12 in maps:  # all of Unicode
        (num_groups,) = struct.unpack_from(">I", data, maps[12] + 12)
        for i in range(num_groups):
            yield struct.unpack_from(">II", data, maps[12] + 16 + 12 * i)
    elif 4 in maps:  # characters below U+10000
        yield from _segments(data, maps[4])


def _segments(data: bytes, table: int) -> Iterator[tuple[int, int]]:
    """Yield the characters of a cmap of format 4 that have a glyph."""
    count = struct.unpack_from(">H", data, table + 6)[0] // 2
    at = table + 14
    ends = struct.unpack_from(f">{count}H", data, at)
    starts, deltas, offsets = (
        struct.unpack_from(f">{count}H", data, at + 2 + 2 * count * i) for i in (1, 2, 3)
    )
    for i, (first, last, delta, offset) in enumerate(
        zip(starts, ends, deltas, offsets, strict=True)
    ):
        for character in range(first, min(last, 0xFFFE) + 1):
            glyph = character
            if offset:
                place = at + 2 + 6 * count + 2 * i + offset + 2 * (character - first)
                (glyph,) = struct.unpack_from(">H", data, place)
            if (not offset and (glyph + delta) % 65536) or (offset and glyph):
                yield character, character
