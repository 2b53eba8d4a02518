"""Captions in all scripts, with fonts made for the test."""

import hashlib

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import features

from vqpriors.figures import fonts, scripts, text_image
from vqpriors.figures.scripts import clusters, direction, is_plain, missing, pieces
from vqpriors.figures.sheets import captioned_sheet
from vqpriors.figures.text_image import draw_text

CHINESE, HINDI, ARABIC, HEBREW, EMOJI = "红苹果", "लाल", "تفاحة", "שלום", "🍎"
CACHED = (pieces, scripts._font_of, fonts._coverage, fonts.load_font, fonts._ordered)
CACHED += (text_image._font, text_image._piece_length)


def square(width):
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (width, 700), (width, 0)):
        pen.lineTo(point)
    pen.closePath()
    return pen.glyph()


def make_font(path, characters, **tables):
    """Write a font whose glyph of the i-th character is a box of 300 + 100 i units."""
    names = [".notdef", *(f"glyph{i}" for i in range(len(characters)))]
    widths = {name: (300 + 100 * i, 0) for i, name in enumerate(names)}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf({name: square(width - 100) for name, (width, _) in widths.items()})
    builder.setupHorizontalMetrics(widths)
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in place of those of the machine's fonts."""
    monkeypatch.setattr("vqpriors.figures.fonts.font_folders", lambda: iter([tmp_path]))
    for function in CACHED:
        function.cache_clear()
    yield tmp_path
    for function in CACHED:
        function.cache_clear()


def letters(*texts):
    return "".join(dict.fromkeys("".join(texts)))


def ink(image):
    return (np.asarray(image) < 255).any()


PLAIN = {  # texts of earlier versions and the start of the SHA-256 of their pixels
    "a small red seven on a white background": "d658b0493b72",
    "word " * 50: "635ff38f2aa0",
    "x" * 60: "531e77a06ec0",
    "caf\u00e9 \u2013 T. AVAWA (odd)": "2a41dc901b89",
    "": "fa59c17dcb19",
}


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_is_drawn_as_in_earlier_versions(folder, text):
    make_font(folder / "DejaVuSans.ttf", letters("abcdefghijklmnopqrstuvwxyz", "\u00e9"))
    pixels = np.asarray(draw_text(text, 300)).tobytes()
    assert hashlib.sha256(pixels).hexdigest()[:12] == PLAIN[text]


@pytest.mark.parametrize("text", [CHINESE, HINDI, ARABIC, HEBREW, EMOJI, f"red {CHINESE} apple"])
def test_text_is_drawn_in_a_font_that_has_it(folder, text):
    escaped = draw_text(text, 300)
    make_font(folder / "NotoSans-Regular.ttf", letters(CHINESE, HINDI, ARABIC, HEBREW, EMOJI))
    for function in CACHED:
        function.cache_clear()
    assert not missing(text)
    assert ink(draw_text(text, 300))
    assert draw_text(text, 300).tobytes() != escaped.tobytes()


ESCAPES = {
    CHINESE: (r"\u7ea2\u82f9\u679c", ["Chinese"]),
    HINDI: (r"\u0932\u093e\u0932", ["Devanagari"]),
    ARABIC: (r"\u062a\u0641\u0627\u062d\u0629", ["Arabic"]),
    HEBREW: (r"\u05e9\u05dc\u05d5\u05dd", ["Hebrew"]),
    "한국": (r"\ud55c\uad6d", ["Hangul"]),
    EMOJI: ("[red apple]", ["symbols"]),
    "👩🏽\u200d🚀!": ("[woman][rocket]!", ["symbols"]),
    "❤\ufe0f": ("[heavy black heart]", ["symbols"]),
    "\U00020000": (r"\U00020000", ["Chinese"]),
    f"red {CHINESE}x": (r"red \u7ea2\u82f9\u679cx", ["Chinese"]),
    "Привет": (r"\u041f\u0440\u0438\u0432\u0435\u0442", ["Cyrillic"]),
}


@pytest.mark.parametrize("text", ESCAPES)
def test_text_without_a_font_is_escaped(folder, text):
    escaped, found = ESCAPES[text]
    assert missing(text) == found
    assert draw_text(text, 600).tobytes() == draw_text(escaped, 600).tobytes()


@pytest.mark.parametrize("text", [ARABIC, HEBREW, HINDI])
def test_scripts_that_need_shaping_are_escaped_without_raqm(folder, monkeypatch, text):
    make_font(folder / "NotoSans-Regular.ttf", letters(CHINESE, HINDI, ARABIC, HEBREW))
    monkeypatch.setattr(features, "check", lambda name: name != "raqm")
    assert missing(text) == ESCAPES[text][1]
    assert not missing(CHINESE)


def test_sheet_says_which_captions_have_no_font(folder):
    pixels = np.zeros((3, 8, 1, 28, 28), np.uint8)
    captions = [f"red {CHINESE}", "red apple", HINDI]
    page, without = captioned_sheet(pixels, captions), captioned_sheet(pixels, ["x"] * 3)
    note = draw_text(
        "No font for Chinese, Devanagari in captions 1, 3; install one, such as Noto.",
        page.width - 48,
    )
    assert page.height == without.height + 20 + note.height
    shown = page.crop((24, page.height - 24 - note.height, page.width - 24, page.height - 24))
    assert shown.tobytes() == note.tobytes()
    make_font(folder / "NotoSans-Regular.ttf", letters(CHINESE, HINDI))
    for function in CACHED:
        function.cache_clear()
    assert captioned_sheet(pixels, captions).height < page.height


def test_a_word_is_in_one_font_if_one_has_all_of_it(folder):
    make_font(folder / "NotoSansArabic-Regular.ttf", ARABIC)
    make_font(folder / "NotoSansCJK-Regular.ttc", letters(CHINESE, "abc"))
    make_font(folder / "NotoEmoji-Regular.ttf", EMOJI)
    fonts_of = [(piece.text, piece.font and piece.font.stem) for piece in pieces(f"abc{CHINESE}")]
    assert fonts_of == [(f"abc{CHINESE}", "NotoSansCJK-Regular")]
    fonts_of = [
        (piece.text, piece.font and piece.font.stem) for piece in pieces(f"x{CHINESE}{EMOJI}")
    ]
    assert fonts_of == [
        ("x", None),
        (CHINESE, "NotoSansCJK-Regular"),
        (EMOJI, "NotoEmoji-Regular"),
    ]


ORDERS = {  # words in the order of reading, and from left to right
    "one two": "one two",
    "AB CD": "CD AB",
    "one AB CD two": "one CD AB two",
    "one AB 12 CD two": "one CD 12 AB two",
    "AB one two CD": "CD one two AB",
    "AB 12": "12 AB",
    "12 AB one": "one AB 12",
    "one 12 AB": "one 12 AB",
}


@pytest.mark.skipif(not features.check("raqm"), reason="needs libraqm")
@pytest.mark.parametrize("text", ORDERS)
def test_words_from_the_right_are_ordered(folder, text):
    """Capitals stand for Hebrew letters."""
    make_font(folder / "NotoSansHebrew-Regular.ttf", "אבגד")
    hebrew = str.maketrans("ABCD", "אבגד")
    line = text.translate(hebrew).split()
    is_from_right = direction(text.translate(hebrew)) == "R"
    ordered = text_image._in_order(line, is_from_right=is_from_right)
    assert (
        "".join(piece.text for piece in ordered).split() == ORDERS[text].translate(hebrew).split()
    )


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("abc", ["a", "b", "c"]),
        ("e\u0301a", ["e\u0301", "a"]),
        ("लाल", ["ला", "ल"]),
        ("👩\u200d👩\u200d👧x", ["👩\u200d👩\u200d👧", "x"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("\u0301a", ["\u0301", "a"]),
    ],
)
def test_lines_are_not_broken_within_a_letter(word, parts):
    assert clusters(word) == parts


def test_long_text_without_spaces_is_wrapped_and_truncated(folder):
    make_font(folder / "NotoSansCJK-Regular.ttc", CHINESE)
    one, two, many = (draw_text(CHINESE * count, 60) for count in (1, 4, 100))
    assert (two.height // one.height, many.height // one.height) == (2, 3)
    assert many.tobytes() == draw_text(CHINESE * 200, 60).tobytes()


def test_damaged_fonts_are_passed_over(folder):
    make_font(folder / "NotoSansCJK-Regular.ttc", CHINESE)
    data = (folder / "NotoSansCJK-Regular.ttc").read_bytes()
    (folder / "DejaVuSans.ttf").write_bytes(b"")
    (folder / "NotoSans-Regular.ttf").write_bytes(data[: len(data) // 2])
    (folder / "msyh.ttc").write_bytes(b"ttcf" + bytes(40))
    assert [piece.font.stem for piece in pieces(CHINESE)] == ["NotoSansCJK-Regular"]


@pytest.mark.parametrize("text", ["a red six", "caf\u00e9", "\u00bd?", "\ud800", "", "a\u200bb"])
def test_latin_text_needs_no_other_font(text):
    assert is_plain(text)
