"""Event handlers of the page's buttons; they yield each preview, then the result."""

import base64
import dataclasses
import io
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from PIL import Image

from vqpriors.data.decoding import BadImageError, decode
from vqpriors.demo.streaming import (
    NO_PICTURE,
    Pictures,
    downscale,
    preprocess,
    split_drawing,
    stream_previews,
    upscale,
)
from vqpriors.inference.generator import Generator
from vqpriors.inference.limits import MAX_PIXELS
from vqpriors.inference.pictures import PictureCallback

TILE, SINGLE_TILE, CANVAS = 196, 392, 364  # screen pixels
Result = tuple[str, int, Pictures]
"""HTML of the pictures, the seed, and the pictures."""


@dataclasses.dataclass(frozen=True)
class Handlers:
    """The handlers of a page.

    Attributes:
        generators: The generators to choose from, by their names on the page.
    """

    generators: Mapping[str, Generator]

    def draw(self, name: str, prompt: str, *controls: Any) -> Iterator[Result]:
        """Draw pictures from a prompt."""
        generator, settings = parse_settings(self.generators[name], *controls)

        def call(callback: PictureCallback) -> Pictures:
            return generator(prompt, callback=callback, **settings)

        yield from _stream_results(call, settings["seed"])

    def inpaint(
        self, name: str, prompt: str, drawing: dict[str, Any] | None, *controls: Any
    ) -> Iterator[Result]:
        """Redraw the painted part of a picture."""
        generator, settings = parse_settings(self.generators[name], *controls)
        picture, mask = split_drawing(drawing)
        source = downscale(picture, generator.image.size)

        def call(callback: PictureCallback) -> Pictures:
            return generator.inpaint(source, mask, prompt, callback=callback, **settings)

        yield from _stream_results(call, settings["seed"])

    def caption(
        self, name: str, upload: dict[str, Any] | None, seed: float | None
    ) -> Iterator[str]:
        """Caption a picture."""
        generator = self.generators[name]
        picture = _decode_upload(upload, generator)
        yield generator.caption(picture, seed=_integer("Seed", seed))[0]

    def reconstruct(self, name: str, upload: dict[str, Any] | None) -> Iterator[str]:
        """Show the tokenizer's input and its reconstruction side by side."""
        generator = self.generators[name]
        source = preprocess(_decode_upload(upload, generator), generator.image)
        notes = ("tokenizer input", f"reconstruction from {generator.spec.length} codes")
        yield tiles([source, generator.reconstruct(source)], notes)


def show_errors(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Wrap a handler, so that a ValueError becomes a message on the page."""

    @wraps(handler)
    def wrapped(*arguments: Any) -> Iterator[Any]:
        try:
            yield from handler(*arguments)
        except ValueError as error:
            raise page_error(str(error)) from None

    return wrapped


def page_error(reason: str) -> gr.Error:
    """Return an error whose reason appears on the page as plain text, without a traceback."""
    return gr.Error(escape(" ".join(reason.split())), print_exception=False)


def decoding_orders(generator: Generator) -> tuple[str, ...]:
    """Return the decoding orders to choose from; empty if the sampler has no choice."""
    field = type(generator.sampler.config).model_fields.get("order")
    return get_args(field.annotation) if field else ()


def parse_settings(
    generator: Generator,
    count: float,
    seed: float | None,
    is_new_seed: bool,
    steps: float,
    temperature: float,
    guidance: float,
    order: str | None,
) -> tuple[Generator, dict[str, Any]]:
    """Convert the values of the page's controls to a generator and keyword arguments of its call.

    Args:
        generator: The chosen generator.
        count: Number of pictures.
        seed: The seed; ignored if `is_new_seed`.
        is_new_seed: Whether to draw a new seed.
        steps: Decoding steps; ignored if the sampler has no choice.
        temperature: See `Generator.__call__`.
        guidance: See `Generator.__call__`.
        order: One of `decoding_orders`; ignored if there are none.

    Raises:
        ValueError: If a value is missing, or the order is unknown.
    """
    settings: dict[str, Any] = {"temperature": temperature, "guidance": guidance}
    settings["num_samples"] = _integer("Pictures", count)
    settings["seed"] = secrets.randbelow(2**31) if is_new_seed else _integer("Seed", seed)
    if generator.has_steps:
        settings["steps"] = _integer("Steps", steps)
    if not (known := decoding_orders(generator)):
        return generator, settings
    if order not in known:
        raise ValueError(f"order: must be one of {', '.join(known)}, got {order}")
    config = generator.sampler.changed({"order": order})
    sampler = dataclasses.replace(generator.sampler, config=config)
    return dataclasses.replace(generator, sampler=sampler), settings


def tiles(pictures: Sequence[Image.Image], notes: Sequence[str] = ()) -> str:
    """Return HTML of pictures side by side, with a note below each if there are notes."""
    edge = SINGLE_TILE if len(pictures) == 1 else TILE
    figures = []
    for i, picture in enumerate(pictures):
        large, file = upscale(picture, edge), io.BytesIO()
        large.save(file, format="PNG")
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        size = f'width="{large.width}" height="{large.height}"'
        note = f"<figcaption>{escape(notes[i])}</figcaption>" if notes else ""
        figures.append(f'<figure><img src="{source}" {size} alt="picture {i + 1}">{note}</figure>')
    return f'<div class="tiles">{"".join(figures)}</div>'


def _stream_results(draw: Callable[[PictureCallback], Pictures], seed: int) -> Iterator[Result]:
    start, pictures = time.perf_counter(), []
    for pictures in stream_previews(draw):
        yield f'{tiles(pictures)}<p class="status">drawing ...</p>', seed, pictures
    seconds = time.perf_counter() - start
    status = f"{len(pictures)} picture{'s' * (len(pictures) > 1)} in {seconds:.1f} s, seed {seed}"
    yield f'{tiles(pictures)}<p class="status">{status}</p>', seed, pictures


def _decode_upload(upload: dict[str, Any] | None, generator: Generator) -> Image.Image:
    """Decode an uploaded file; gradio has checked that it was uploaded."""
    if upload is None or upload["path"] is None:
        raise ValueError(NO_PICTURE)
    try:
        picture = decode(Path(upload["path"]).read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"Picture: {error}") from None
    return downscale(picture, generator.image.size)


def _integer(name: str, value: float | None) -> int:
    if value is None:
        raise ValueError(f"{name}: enter an integer")
    return int(value)
