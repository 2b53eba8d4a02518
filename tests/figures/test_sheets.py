import numpy as np
import pytest
from PIL import Image

from vqpriors.figures.sheets import (
    FRAME,
    MARGIN,
    Block,
    captioned_sheet,
    comparison_sheet,
    grid_sheet,
    pair_sheet,
    save_png,
    sheet,
)
from vqpriors.figures.text_image import PAPER, draw_text


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def page_pixels(page):
    return np.asarray(page).transpose(2, 0, 1)


def test_small_pictures_are_enlarged_by_repeating_pixels():
    pixels = pictures(1, 3, 28, 28)
    page = page_pixels(grid_sheet(pixels))
    start = MARGIN + 1
    shown = page[:, start : start + 112, start : start + 112]
    np.testing.assert_array_equal(shown, pixels[0].repeat(4, 1).repeat(4, 2))


def test_pictures_of_128_pixels_are_not_enlarged():
    pixels = pictures(1, 3, 128, 128)
    page = page_pixels(grid_sheet(pixels))
    start = MARGIN + 1
    np.testing.assert_array_equal(page[:, start : start + 128, start : start + 128], pixels[0])


def test_one_channel_is_drawn_in_gray():
    page = page_pixels(grid_sheet(pictures(1, 1, 28, 28)))
    inside = page[:, MARGIN + 1 : -MARGIN - 1, MARGIN + 1 : -MARGIN - 1]
    np.testing.assert_array_equal(inside[0], inside[1])
    np.testing.assert_array_equal(inside[0], inside[2])


def test_white_pictures_have_frames_and_margins():
    page = grid_sheet(np.full((1, 3, 28, 28), 255, dtype=np.uint8))
    assert page.size == (114 + 2 * MARGIN, 114 + 2 * MARGIN)
    assert page.getpixel((0, 0)) == PAPER
    assert page.getpixel((MARGIN, MARGIN)) == FRAME


def test_grid_wraps_after_its_columns():
    one, two = (grid_sheet(pictures(count, 1, 28, 28), columns=8) for count in (8, 9))
    assert two.width == one.width
    assert two.height == one.height + 114 + 4


def test_reconstructions_are_below_their_originals():
    originals, reconstructions = pictures(3, 3, 128, 128), pictures(3, 3, 128, 128, seed=1)
    page = page_pixels(pair_sheet(originals, reconstructions, columns=2))
    right = page[:, :, -MARGIN - 129 : -MARGIN - 1]
    np.testing.assert_array_equal(right[:, MARGIN + 1 : MARGIN + 129], originals[1])
    below = MARGIN + 1 + 130 + 4
    np.testing.assert_array_equal(right[:, below : below + 128], reconstructions[1])


def test_conditions_are_columns():
    pixels = pictures(2, 3, 1, 1, 28, 28)
    page = comparison_sheet(pixels, ["one", "two"], ["0.5", "1.0", "1.5"])
    assert page.width == 2 * MARGIN + 3 * 114 + 2 * 12
    column = page_pixels(page)[0, :, MARGIN + 126 + 1 : MARGIN + 126 + 113]
    shown = pixels[1, 1, 0, 0].repeat(4, 0).repeat(4, 1)
    assert any(np.array_equal(column[top : top + 112], shown) for top in range(len(column) - 111))


@pytest.mark.parametrize(
    "caption",
    [
        "",
        " \n",
        "\x00\x1b[31m\t\r\n\x7f",
        "中文 العربية עברית 🙂👩‍👩‍👧 é",
        "\ud800 lone surrogate",
        "word " * 2000,
        "x" * 100_000,
        "e" + "\u0301" * 5000,
        "%s {0} <b>&amp;</b> \\",
    ],
)
def test_any_caption_can_be_drawn(caption):
    page = captioned_sheet(pictures(1, 1, 1, 28, 28), [caption], title=caption)
    assert page.width == 114 + 2 * MARGIN
    assert page.height < 400


def test_empty_caption_is_drawn_as_a_placeholder():
    pixels = pictures(1, 4, 1, 28, 28)
    assert captioned_sheet(pixels, [" "]) == captioned_sheet(pixels, ["(no caption)"])


def test_captions_wrap_between_words_and_are_truncated_after_three_lines():
    line = draw_text("word", 300).height
    assert draw_text("word " * 14, 300).height == 2 * line
    assert draw_text("word " * 50, 300).height == 3 * line
    assert draw_text("word " * 50, 300) == draw_text("word " * 60, 300)
    cut, whole = (np.asarray(draw_text("word " * n, 300))[-line:] for n in (50, 24))
    assert not np.array_equal(cut, whole)


def test_words_longer_than_the_width_are_broken():
    assert draw_text("x" * 60, 200).height > draw_text("x" * 10, 200).height


def test_accents_and_control_characters_are_replaced():
    assert draw_text("caf\u00e9\u2013bar\x07!", 300) == draw_text("cafe-bar !", 300)


def test_blocks_fill_rows_first():
    block = Block([pictures(1, 1, 28, 28)], "caption")
    one, two = sheet([block]), sheet([block, block], across=2)
    assert two.size == (2 * one.width - MARGIN, one.height)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 28, 28), np.uint8), np.zeros((2, 4, 28, 28), np.uint8), np.zeros((2, 1, 8, 8))],
)
def test_other_arrays_raise(pixels):
    with pytest.raises(ValueError, match=r"expected \(M, C, H, W\) uint8"):
        grid_sheet(pixels)


def test_no_pictures_and_uneven_columns_raise():
    with pytest.raises(ValueError, match="at least one picture"):
        grid_sheet(pictures(0, 1, 28, 28))
    with pytest.raises(ValueError, match="3 pictures cannot be divided among 2 headings"):
        sheet([Block([pictures(3, 1, 28, 28)])], headings=["a", "b"])


def test_saved_bytes_depend_on_the_pixels_only(tmp_path):
    pixels = pictures(2, 3, 28, 28)
    first, second = tmp_path / "new" / "a.png", tmp_path / "b.png"
    for path in (first, second, second):
        save_png(grid_sheet(pixels, title="again"), path)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == grid_sheet(pixels, title="again").size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "new"]


def test_failed_save_keeps_the_previous_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="cannot write mode"):
        save_png(Image.new("HSV", (4, 4)), path)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
