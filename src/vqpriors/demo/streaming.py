"""Pictures for a page: as they form, enlarged, painted over, and some to begin with."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from PIL import Image, ImageChops

from vqpriors.core.artifact import MANIFEST
from vqpriors.data.decoding import ImageConfig, fit
from vqpriors.data.shards import read_batches, shard_paths
from vqpriors.inference.generator import Look

NUM_SUGGESTED = 64  # pictures of the test split
NO_PICTURE = "picture: there is none; take one or upload one"
Pictures = list[Image.Image]


class _LeftError(Exception):
    """No one looks on any more."""


def as_they_form(draw: Callable[[Look], Pictures]) -> Iterator[Pictures]:
    """Yield pictures after each pass and at the end, while another thread draws them.

    Who takes them slower than they come misses some, but never the last. Closing the iterator ends
    the drawing with its next pass.

    Args:
        draw: Takes what to call after each pass; returns the pictures.
    """
    frames: SimpleQueue[Pictures | None] = SimpleQueue()
    is_left = Event()

    def look(pictures: Pictures) -> None:
        if is_left.is_set():
            raise _LeftError
        frames.put(pictures)

    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(draw, look)
        drawn.add_done_callback(lambda _: frames.put(None))
        try:
            while (frame := _newest(frames)) is not None:
                yield frame
            yield drawn.result()
        finally:
            is_left.set()


def _newest(frames: "SimpleQueue[Pictures | None]") -> Pictures | None:
    frame = frames.get()
    while not frames.empty():
        frame = frames.get()
    return frame


def enlarged(picture: Image.Image, edge: int) -> Image.Image:
    """Repeat each pixel by the largest whole factor that keeps the picture within an edge."""
    factor = max(1, edge // max(picture.size))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def restored(picture: Image.Image, edge: int) -> Image.Image:
    """Undo `enlarged`, pixel for pixel, of a square picture; leave any other as it is.

    Args:
        picture: Of any mode and size.
        edge: What its size has been.
    """
    small = picture.resize((edge, edge), Image.Resampling.NEAREST)
    is_enlarged = small.resize(picture.size, Image.Resampling.NEAREST).tobytes()
    return small if is_enlarged == picture.tobytes() else picture


def painted(drawing: dict[str, Any] | None) -> tuple[Image.Image, Image.Image]:
    """Take what an editor gives apart: its picture, and white on black where that is painted over.

    Args:
        drawing: `background`, a picture or None, and `layers`, RGBA, transparent but for the paint.

    Raises:
        ValueError: If there is no picture, or no paint.
    """
    if drawing is None or drawing["background"] is None:
        raise ValueError(NO_PICTURE)
    picture = drawing["background"].convert("RGB")
    mask = Image.new("L", picture.size)
    for layer in drawing["layers"]:
        paint = layer.getchannel("A").point(lambda opacity: 255 * (opacity > 0))
        mask = ImageChops.lighter(mask, paint.resize(mask.size))
    if mask.getbbox() is None:
        raise ValueError("mask: nothing is painted; brush over what to draw again")
    return picture, mask


def as_tokenized(picture: Image.Image, config: ImageConfig) -> Image.Image:
    """Return a picture as a tokenizer of that size and those channels sees it."""
    pixels = fit(picture, config)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def suggested_pictures(folder: Path) -> tuple[Pictures, list[str]]:
    """Return pictures of the test split beside a generator's parts, and captions, each once.

    Args:
        folder: Of the parts; both are empty where it holds no `images/`.
    """
    if not (folder / "images" / MANIFEST).is_file():
        return [], []
    rows = next(read_batches(shard_paths(folder / "images", "test"), rows=NUM_SUGGESTED))
    columns = rows.to_pydict()
    pictures: Pictures = [Image.open(io.BytesIO(data)) for data in columns["image"]]
    return pictures, [caption for caption in dict.fromkeys(columns["caption"]) if caption]
