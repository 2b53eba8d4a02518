"""Masks for in-painting: what they mark, and their crop beside that of the picture."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.pictures import png_of
from vqpriors.data.decoding import BadImageError, ImageConfig, decode
from vqpriors.inference.masks import marked_pixels, read_mask

WHITE, BLACK, CLEAR = (255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 0)


def config(resize="crop", size=4):
    return ImageConfig(size=size, channels=3, resize=resize, background="white")


def halves(left, right, size=(4, 2)):
    """An RGBA picture of two colours."""
    image = Image.new("RGBA", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def photo(hole):
    """A colourful picture, erased in the box."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("RGBA")
    image.paste((0, 0, 0, 0), hole)
    return image


def gray(*levels):
    return Image.fromarray(np.array([levels] * 2, np.uint8))


def palette(*, transparent):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.paste(1, (2, 0, 4, 2))
    image.info["transparency"] = transparent
    return image


RIGHT = {  # masks of 4 x 2 pixels that mark the right half
    "gray": gray(0, 0, 255, 255),
    "soft edge": gray(0, 127, 128, 255),
    "bits": gray(0, 0, 255, 255).convert("1"),
    "opaque colours": halves(BLACK, WHITE),
    "RGB": halves(BLACK, WHITE).convert("RGB"),
    "CMYK": halves(BLACK, WHITE).convert("RGB").convert("CMYK"),
    "16 bits": Image.fromarray(np.array([[0, 0, 65535, 40000]] * 2, np.uint16)),
    "white paint": halves(CLEAR, WHITE),
    "white paint on clear white": halves((255, 255, 255, 0), WHITE),
    "red paint": halves(CLEAR, (255, 0, 0, 255)),
    "blue paint": halves(CLEAR, (0, 0, 255, 255)),
    "translucent orange paint": halves(CLEAR, (249, 115, 22, 90)),
    "gray and opacity": halves(CLEAR, WHITE).convert("LA"),
    "premultiplied": halves(CLEAR, WHITE).convert("RGBa"),
    "black paint": halves(BLACK, CLEAR),
    "black paint on clear white": halves(BLACK, (255, 255, 255, 0)),
    "almost clear black paint": halves((0, 0, 0, 1), CLEAR),
    "evenly translucent": halves((0, 0, 0, 128), (255, 255, 255, 128)),
    "palette, black is clear": palette(transparent=0),
    "palette, white is clear": palette(transparent=1),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_half_is_marked(name):
    found = marked_pixels(RIGHT[name])
    assert found.dtype == bool
    assert found.astype(int).tolist() == [[0, 0, 1, 1]] * 2


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("clear", ["black", "white"])
def test_transparent_gray_of_a_png_is_read_at_any_depth(depth, clear):
    """White beside transparent black is paint; black beside transparent white is paint as well."""
    file = png_of(depth, [0, 2**depth - 1], transparent=0 if clear == "black" else 2**depth - 1)
    assert marked_pixels(decode(file, max_pixels=100)).astype(int).tolist() == [[0, 1]]


@pytest.mark.parametrize("hole", [(0, 0, 4, 8), (2, 2, 5, 5)])
def test_erased_part_of_a_picture_is_marked(hole):
    expected = np.zeros((8, 8), dtype=bool)
    expected[hole[1] : hole[3], hole[0] : hole[2]] = True
    assert (marked_pixels(photo(hole)) == expected).all()


REFUSED = {
    "black": (gray(0, 0, 0, 0), "nothing is marked; paint the part to redraw white"),
    "ones": (gray(0, 0, 1, 1), r"nothing is marked \(its lightest pixel is 1 of 255\); paint"),
    "clear": (halves(CLEAR, CLEAR), "nothing is marked, it is transparent everywhere; paint"),
    "clear white": (
        halves((255, 255, 255, 0), (255, 255, 255, 0)),
        "nothing is marked, it is transparent everywhere; paint",
    ),
    "black, white and clear": (
        Image.fromarray(np.array([[BLACK, WHITE, CLEAR, BLACK]] * 2, np.uint8)),
        "black, white and transparent parts, so what to redraw is unclear; paint",
    ),
    "floats": (Image.new("F", (4, 2), 1.0), "floating-point pixels have no fixed range"),
    "other proportions": (
        Image.new("L", (4, 4), 255),
        "4 x 4 pixels, but the picture has 4 x 2; make both equally large",
    ),
    "turned": (Image.new("L", (2, 4), 255), "2 x 4 pixels, but .*; turn one of them by 90 degrees"),
    "outside the crop": (gray(255, 0, 0, 0), "nothing is marked in the central square"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_masks_are_refused(name):
    mask, problem = REFUSED[name]
    with pytest.raises(ValueError, match=f"^mask: {problem}"):
        read_mask(mask, Image.new("RGB", (4, 2)), config())


@pytest.mark.parametrize(
    ("mask", "picture"),
    [((8, 4), (8, 4)), ((16, 8), (8, 4)), ((8, 4), (16, 8)), ((500, 334), (1000, 667))],
)
def test_mask_of_the_same_proportions_is_accepted(mask, picture):
    assert read_mask(Image.new("L", mask, 255), Image.new("RGB", picture), config()).all()


@pytest.mark.parametrize(
    ("mask", "picture"), [((9, 8), (1000, 1000)), ((4, 2), (5, 2)), ((100, 98), (100, 100))]
)
def test_mask_of_almost_the_same_proportions_is_refused(mask, picture):
    with pytest.raises(ValueError, match="make both equally large"):
        read_mask(Image.new("L", mask, 255), Image.new("RGB", picture), config())


@pytest.mark.parametrize(
    ("resize", "columns"),
    [("crop", [0, 0, 0, 1]), ("stretch", [0, 0, 1, 0]), ("pad", [0, 0, 1, 0])],
)
def test_mask_is_resized_as_its_picture(resize, columns):
    """The mark is at 10 of 16 columns, which is the last of 4 columns of the central square."""
    mask = Image.new("L", (16, 8))
    mask.paste(255, (10, 0, 11, 8))
    found = read_mask(mask, mask, config(resize))
    rows = [0, 1, 1, 0] if resize == "pad" else [1, 1, 1, 1]
    assert found.astype(int).tolist() == np.outer(rows, columns).tolist()


def test_padding_is_not_redrawn():
    found = read_mask(Image.new("L", (2, 8), 255), Image.new("L", (2, 8)), config("pad", size=8))
    assert found.sum(axis=0).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]


@pytest.mark.parametrize("edge", [4, 8, 30, 64, 1000])
def test_one_marked_pixel_of_a_large_mask_marks_one_pixel(edge):
    mask = Image.new("L", (edge, edge))
    mask.putpixel((edge - 1, 0), 255)
    found = read_mask(mask, mask, config())
    assert np.argwhere(found).tolist() == [[0, 3]]


def test_small_mask_is_enlarged():
    found = read_mask(gray(0, 255), Image.new("L", (4, 4)), config())
    assert found.astype(int).tolist() == [[0, 0, 1, 1]] * 4


def turned(image):
    """Add EXIF data by which a viewer turns the picture by 90 degrees clockwise."""
    image.getexif()[0x0112] = 6
    return image


def test_exif_rotation_of_picture_and_mask_is_applied():
    upright = Image.new("L", (4, 4))
    upright.paste(255, (0, 0, 4, 1))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    expected = read_mask(upright, upright, config())
    assert (read_mask(turned(lying), upright, config()) == expected).all()
    wide = Image.new("RGB", (8, 4))
    with pytest.raises(ValueError, match="turn one of them"):
        read_mask(Image.new("L", (8, 4), 255), turned(wide.copy()), config())
    assert read_mask(Image.new("L", (4, 8), 255), turned(wide.copy()), config()).all()


@pytest.mark.parametrize("size", [28, 128])
def test_soft_edges_of_black_and_white_paint_leave_it_ambiguous(size):
    large = Image.new("RGBA", (4 * size, 4 * size), (0, 0, 0, 255))
    ImageDraw.Draw(large).ellipse((size, size, 3 * size, 3 * size), fill=(255, 255, 255, 255))
    mask = large.resize((size, size), Image.Resampling.LANCZOS)
    mask.paste((0, 0, 0, 0), (0, 0, size, size // 8))
    with pytest.raises(BadImageError, match="black, white and transparent parts"):
        marked_pixels(mask)
