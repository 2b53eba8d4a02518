import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures import png_of
from vqpriors.core.params import check
from vqpriors.data.decoding import BadImageError, ImageConfig, decode, fit


def config(**changes):
    values = {"size": 8, "channels": 3, "resize": "crop", "background": "black"}
    return check("data.x.image", values | changes, ImageConfig)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(size=(8, 8), channels=3, seed=0):
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def through(image, form="PNG", max_pixels=10_000, options=None, **changes):
    return fit(
        decode(encoded(image, form, **(options or {})), max_pixels=max_pixels), config(**changes)
    )


def test_right_size_is_not_resampled():
    pixels = noise()
    np.testing.assert_array_equal(through(Image.fromarray(pixels)), pixels.transpose(2, 0, 1))


def test_gray_is_exact():
    pixels = noise(channels=1)
    np.testing.assert_array_equal(through(Image.fromarray(pixels), channels=1), pixels[None])
    np.testing.assert_array_equal(through(Image.fromarray(pixels)), np.stack([pixels] * 3))


@pytest.mark.parametrize(("alpha", "expected"), [(0, 200), (255, 40), (128, 120)])
def test_transparency_is_blended_with_the_background(alpha, expected):
    image = Image.new("RGBA", (8, 8), (40, 40, 40, alpha))
    pixels = through(image, background="#c8c8c8")
    assert pixels.shape == (3, 8, 8)
    assert (pixels == expected).all()


def test_background_color_is_exact():
    pixels = through(Image.new("RGBA", (8, 8), (1, 2, 3, 0)), background="#0a141e")
    assert pixels[:, 4, 4].tolist() == [10, 20, 30]


def test_transparent_color_of_a_palette_becomes_the_background():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.paste(1, (4, 0, 8, 8))
    pixels = through(image, options={"transparency": 0}, background="white")
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 0, 7].tolist() == [50, 60, 70]


def test_sixteen_bits_are_scaled_to_eight():
    values = np.array([[0, 257, 128 * 257, 65535]] * 4, np.uint16)
    pixels = through(Image.fromarray(values), size=4, channels=1)
    assert pixels[0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_gray_of_a_png_becomes_the_background(depth):
    clear, largest = min(1, depth - 1), 2**depth - 1
    file = png_of(depth, [clear, largest] * 2, transparent=clear)
    pixels = fit(
        decode(file, max_pixels=100), config(size=4, resize="stretch", background="#0a141e")
    )
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255] * 3] * 2


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color_of_a_png_becomes_the_background(depth):
    clear, other = [200 << (depth - 8), 7, 9], [255 << (depth - 8)] * 3
    file = png_of(depth, [clear, other] * 2, transparent=clear, color=True)
    pixels = fit(
        decode(file, max_pixels=100), config(size=4, resize="stretch", background="#0a141e")
    )
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255] * 3] * 2


MODES = {  # a red or gray pixel in each mode of Pillow, and its RGB
    "1": (1, [255] * 3),
    "L": (200, [200] * 3),
    "LA": ((200, 255), [200] * 3),
    "La": ((200, 255), [200] * 3),
    "RGB": ((200, 100, 50), [200, 100, 50]),
    "RGBA": ((200, 100, 50, 255), [200, 100, 50]),
    "RGBa": ((200, 100, 50, 255), [200, 100, 50]),
    "RGBX": ((200, 100, 50, 0), [200, 100, 50]),
    "CMYK": ((0, 155, 205, 0), [255, 100, 50]),
    "YCbCr": ((124, 86, 182), [200, 100, 49]),
    "HSV": ((14, 191, 200), [200, 100, 50]),
    "I;16": (200 * 257, [200] * 3),
    "I;16B": (200 * 257, [200] * 3),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_converted(mode, channels):
    value, expected = MODES[mode]
    image = Image.new(mode, (8, 8))
    image.paste(value, (0, 0, 8, 8)) if mode != "I;16B" else image.putdata([value] * 64)
    pixels = fit(image, config(channels=channels))[:, 0, 0].astype(int)
    gray = int(np.dot(expected, [0.299, 0.587, 0.114]))
    assert abs(pixels - (expected if channels == 3 else gray)).max() <= 2


@pytest.mark.parametrize(("mode", "kind"), [("F", "floating-point"), ("I", "32-bit")])
def test_pixels_without_a_range_are_refused(mode, kind):
    tiff = encoded(Image.new(mode, (8, 8)), "TIFF")
    for image in (Image.new(mode, (8, 8)), decode(tiff, max_pixels=100)):
        with pytest.raises(BadImageError, match=f"^{kind} pixels have no fixed range"):
            fit(image, config())


def test_16_bit_ppm_is_read():
    file = b"P5 4 4 65535\n" + np.array([200 * 257, 65535] * 8, ">u2").tobytes()
    pixels = fit(decode(file, max_pixels=100), config(size=4, channels=1))
    assert pixels[0].tolist() == [[200, 255] * 2] * 4


def test_cmyk_becomes_rgb():
    pixels = through(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert pixels[0].min() > 240
    assert pixels[1:].max() < 15


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "BMP", "GIF", "TIFF", "TGA", "AVIF", "PPM"])
def test_common_formats_are_decoded(form):
    pixels = through(Image.new("RGB", (8, 8), (200, 100, 50)), form)
    np.testing.assert_allclose(pixels[:, 4, 4], [200, 100, 50], atol=4)


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (16, 8))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the viewer turns the picture by 90 degrees clockwise
    upright = decode(encoded(image, exif=exif), max_pixels=1000)
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 2)) == (255, 255, 255)
    assert upright.getpixel((4, 13)) == (0, 0, 0)


def test_crop_keeps_the_middle():
    image = Image.new("RGB", (24, 8), "red")
    image.paste("blue", (8, 0, 16, 8))
    assert (through(image)[2] == 255).all()


def test_crop_scales_the_short_side():
    pixels = through(Image.new("RGB", (32, 16), "red"))
    assert pixels.shape == (3, 8, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_pad_shows_the_background_on_both_sides(channels):
    image = Image.new("RGB", (16, 8), "white")
    pixels = through(image, resize="pad", channels=channels, background="#404040")
    assert pixels.shape == (channels, 8, 8)
    assert pixels[0, :, 4].tolist() == [64, 64, 255, 255, 255, 255, 64, 64]


def test_very_wide_picture_keeps_at_least_one_row_when_padded():
    pixels = through(Image.new("RGB", (900, 1), "white"), resize="pad")
    assert (pixels == 255).any()


def test_stretch_uses_all_of_the_picture():
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (8, 0, 16, 8))
    pixels = through(image, resize="stretch")
    assert pixels[0, 0, 0] == 0
    assert pixels[0, 0, 7] == 255


def test_max_pixels_is_checked_before_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded")

    data = encoded(Image.new("RGB", (11, 10)))
    decode(data, max_pixels=110)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(BadImageError, match=r"11 x 10 is more than data\.decoding\.max_pixels=109"):
        decode(data, max_pixels=109, param="data.decoding.max_pixels")
    with pytest.raises(BadImageError, match=r"11 x 10 is more than 109 pixels; make it smaller"):
        decode(data, max_pixels=109)


def test_decompression_bomb_is_refused_as_too_large():
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(BadImageError, match=r"more than 10,000 pixels"):
        decode(bytes(bomb), max_pixels=10_000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "no bytes"),
        (b"", "empty"),
        (b"not a picture at all", "not a PNG, JPEG or other known picture"),
        (encoded(Image.fromarray(noise((64, 64))))[:5000], "can't be decoded"),
        (encoded(Image.fromarray(noise((64, 64))), "JPEG")[:1000], "can't be decoded"),
    ],
)
def test_bad_bytes_are_refused_with_a_reason(data, reason):
    with pytest.raises(BadImageError, match=reason):
        decode(data, max_pixels=10_000)


def test_unknown_background_names_its_param():
    with pytest.raises(ValueError, match=r"^data\.x\.image\.background: must be a colour name"):
        config(background="mauvish")
