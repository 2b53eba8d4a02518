"""Pictures of the page: previews of a running call, scaling, painted masks and examples."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from PIL import Image, ImageChops

from vqpriors.core.artifact import MANIFEST
from vqpriors.data.decoding import ImageConfig
from vqpriors.data.shards import read_batches, shard_paths
from vqpriors.inference.pictures import PictureCallback, to_pictures, to_pixels

NUM_EXAMPLE_PICTURES = 64  # of the test split
NO_PICTURE = "No picture yet: upload one, or use a drawn or a test picture."
Pictures = list[Image.Image]


class ClientGoneError(Exception):
    """Raised in a running call to stop it after the client has left."""


def stream_previews(draw: Callable[[PictureCallback], Pictures]) -> Iterator[Pictures]:
    """Run a call in another thread; yield previews after its decoding steps, then its result.

    A slow reader misses previews, but never the result. Closing the iterator stops the call at its
    next step. Exceptions of the call are raised here.

    Args:
        draw: The call; takes the callback of each step and returns the result.
    """
    previews: SimpleQueue[Pictures | None] = SimpleQueue()
    is_closed = Event()

    def callback(pictures: Pictures) -> None:
        if is_closed.is_set():
            raise ClientGoneError
        previews.put(pictures)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(draw, callback)
        result.add_done_callback(lambda _: previews.put(None))
        try:
            while (preview := _newest(previews)) is not None:
                yield preview
            yield result.result()
        finally:
            is_closed.set()


def _newest(previews: "SimpleQueue[Pictures | None]") -> Pictures | None:
    preview = previews.get()
    while not previews.empty():
        preview = previews.get()
    return preview


def upscale(picture: Image.Image, edge: int) -> Image.Image:
    """Enlarge by repeating pixels, by the largest integer factor that fits an edge in pixels."""
    factor = max(1, edge // max(picture.size))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def downscale(picture: Image.Image, edge: int) -> Image.Image:
    """Undo `upscale` of a square picture exactly; return any other picture unchanged.

    Args:
        picture: Of any mode and size.
        edge: Edge of the picture before `upscale`, pixels.
    """
    if picture.width != picture.height:
        return picture
    small = picture.resize((edge, edge), Image.Resampling.NEAREST)
    enlarged = small.resize(picture.size, Image.Resampling.NEAREST)
    return small if enlarged.tobytes() == picture.tobytes() else picture


def split_drawing(drawing: dict[str, Any] | None) -> tuple[Image.Image, Image.Image]:
    """Split the value of an image editor into the picture and a mask, white where it is painted.

    Args:
        drawing: `background`, a picture or None, and `layers`, RGBA with transparent background.

    Raises:
        ValueError: If there is no picture, or nothing is painted.
    """
    if drawing is None or drawing["background"] is None:
        raise ValueError(NO_PICTURE)
    picture = drawing["background"]
    if picture.mode == "RGBA" and picture.getextrema()[3] == (255, 255):
        picture = picture.convert("RGB")
    mask = Image.new("L", picture.size)
    for layer in drawing["layers"] or ():
        paint = layer.convert("RGBA").getchannel("A").point(lambda opacity: 255 * (opacity > 0))
        mask = ImageChops.lighter(mask, paint.resize(mask.size))
    if mask.getbbox() is None:
        raise ValueError("Nothing is painted: brush over the part to redraw.")
    return picture, mask


def preprocess(picture: Image.Image, config: ImageConfig) -> Image.Image:
    """Convert a picture to the size and channels of a tokenizer's input."""
    return to_pictures(to_pixels(picture, config)[None])[0]


def example_pictures(folder: Path) -> tuple[Pictures, list[str]]:
    """Read pictures of the test split beside a generator's parts, and their distinct captions.

    Args:
        folder: The folder of the parts; both lists are empty if it has no `images/`.
    """
    if not (folder / "images" / MANIFEST).is_file():
        return [], []
    rows = next(read_batches(shard_paths(folder / "images", "test"), rows=NUM_EXAMPLE_PICTURES))
    columns = rows.to_pydict()
    pictures: Pictures = [Image.open(io.BytesIO(data)) for data in columns["image"]]
    return pictures, [caption for caption in dict.fromkeys(columns["caption"]) if caption]
