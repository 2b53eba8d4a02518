"""Decoding of untrusted image files, and resizing to the working size."""

import io
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from pydantic import Field, field_validator

from vqpriors.core.params import Section

# Pictures that Pillow itself decodes: no programs it would start (EPS), films or scientific files.
# TGA comes last, since its files have no signature.
FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "ICO"),
    *("PCX", "PSD", "SGI", "SUN", "DDS", "TGA"),
)
_ANIMATED = ("PNG", "WEBP", "GIF", "TIFF", "AVIF")  # formats with frames or pages


class ImageConfig(Section):
    """Format of a data set's pictures.

    Attributes:
        size: Height and width, pixels.
        channels: 1 for gray, 3 for RGB.
        resize: "crop" to the middle square, "pad" to a square, or "stretch".
        background: Opaque colour, a name or "#rrggbb", behind transparency and padding.
    """

    size: int = Field(ge=4, le=4096)
    channels: Literal[1, 3]
    resize: Literal["crop", "pad", "stretch"]
    background: str

    @field_validator("background")
    @classmethod
    def _is_color(cls, value: str) -> str:
        if len(_rgb(value)) != 3:
            raise ValueError(f"must be an opaque colour, got {value!r}")
        return value


class BadImageError(ValueError):
    """An image that can't be used; the message is the reason."""


@cache
def formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that the installed Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def endings() -> frozenset[str]:
    """Return the endings of files of `formats`, such as ".png"."""
    known = {**Image.registered_extensions(), ".mpo": "JPEG"}  # MPO: several JPEGs in one file
    return frozenset(ending for ending, name in known.items() if name in formats())


def decode(data: bytes | None, *, max_pixels: int, param: str | None = None) -> Image.Image:
    """Decode a picture, of several frames the first, and apply its EXIF orientation.

    Args:
        data: Encoded bytes; None for a row that has no bytes, perhaps only a path.
        max_pixels: Largest width x height that is decoded.
        param: The param that sets it, for errors; None if none does.

    Returns:
        The fully loaded picture in its own mode and size.

    Raises:
        BadImageError: If it is missing, of another format, too large, truncated or corrupt.
    """
    if data is None:
        raise BadImageError("no bytes")
    if not data:
        raise BadImageError("empty")
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            if image.width * image.height > max_pixels:
                found = f"{image.width} x {image.height}"
                raise BadImageError(_too_large(found, max_pixels, param))
            image.load()
            _scale_transparent_color(image, data)
            if image.format == "PPM" and image.mode == "I":  # of 16 bits, by the format
                return image.convert("I;16")
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise BadImageError("not a PNG, JPEG or other known picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(_too_large("size", max_pixels, param)) from None
    except BadImageError:
        raise
    except Exception as error:  # decoders raise many types on corrupt or hostile bytes
        raise BadImageError(f"can't be decoded ({_line(error)})") from None


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of a picture, as viewers do; `decode` has done so already.

    Raises:
        BadImageError: If its EXIF data are corrupt.
    """
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # its reader raises many types
        raise BadImageError(f"its EXIF data can't be read ({_line(error)})") from None


def has_several_frames(data: bytes) -> bool:
    """Return whether an encoded picture has frames or pages besides the first; False if corrupt."""
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception:  # as in `decode`
        return False


def fit(image: Image.Image, config: ImageConfig) -> np.ndarray:
    """Convert a picture to the working size and channels.

    A picture that already has the working size is not resampled.

    Args:
        image: A picture of any mode and size; transparency is blended with the background colour.
        config: The working size.

    Returns:
        (C, H, W) uint8.

    Raises:
        BadImageError: If its pixels have no fixed range, or it has no pixels.
    """
    opaque = _opaque(image, config.background).convert("L" if config.channels == 1 else "RGB")
    pixels = np.asarray(_resized(opaque, config))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split a picture of any mode into colours of at most 8 bits and opacity.

    Returns:
        The colours, without transparency; and the opacity, mode "L", or None if it has none.

    Raises:
        BadImageError: As `fit`.
    """
    if not image.width or not image.height:
        raise BadImageError("has no pixels")
    if image.mode in ("F", "I"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise BadImageError(f'{kind} pixels have no fixed range; convert it to mode "L"')
    if image.mode.startswith("I"):  # 16 bits per pixel, which `convert` would clip at 255
        return _split_deep(image)
    if image.mode in ("La", "LAB"):  # neither converts to both gray and RGB
        image = image.convert("LA" if image.mode == "La" else "RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    return image, None


def _split_deep(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    deep = np.asarray(image).astype(np.int64).clip(0, 65535)
    gray = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return gray, None
    return gray, Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8))


def _opaque(image: Image.Image, background: str) -> Image.Image:
    colors, alpha = split_alpha(image)
    if alpha is None:
        return colors
    picture = colors.convert("RGBA")
    picture.putalpha(alpha)
    behind = Image.new("RGBA", picture.size, (*_rgb(background), 255))
    return Image.alpha_composite(behind, picture)


def _scale_transparent_color(image: Image.Image, data: bytes) -> None:
    """Scale the transparent colour of a PNG to 8 bits, as Pillow has scaled its pixels.

    The two differ for gray of 2 or 4 bits and RGB of 16 bits.
    """
    color = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("L", "RGB") or color is None:
        return
    depth = data[24]  # of IHDR, which comes first
    if depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in color)
    elif depth < 8:
        image.info["transparency"] = color * (255 // (2**depth - 1))


def _resized(image: Image.Image, config: ImageConfig) -> Image.Image:
    size = (config.size, config.size)
    if image.size == size:
        return image
    if config.resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if config.resize == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    return _padded(image, config)


def _padded(image: Image.Image, config: ImageConfig) -> Image.Image:
    scale = config.size / max(image.size)
    width, height = (max(1, round(edge * scale)) for edge in image.size)
    color = Image.new("RGB", (1, 1), _rgb(config.background)).convert(image.mode).getpixel((0, 0))
    canvas = Image.new(image.mode, (config.size, config.size), color)
    offset = ((config.size - width) // 2, (config.size - height) // 2)
    canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), offset)
    return canvas


def _rgb(color: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(color)
    except ValueError:
        raise ValueError(f"must be a colour name or #rrggbb, got {color!r}") from None


def _too_large(found: str, max_pixels: int, param: str | None) -> str:
    if param:
        return f"{found} is more than {param}={max_pixels}"
    return f"{found} is more than {max_pixels:,} pixels; make it smaller"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
