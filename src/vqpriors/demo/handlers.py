"""Event handlers of the page's buttons; they yield each preview, then the result."""

import dataclasses
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
from vqpriors.demo.html import download_link, tiles
from vqpriors.demo.streaming import (
    NO_PICTURE,
    Pictures,
    downscale,
    preprocess,
    split_drawing,
    stream_previews,
)
from vqpriors.inference.generator import Generator
from vqpriors.inference.limits import MAX_PIXELS
from vqpriors.inference.pictures import PictureCallback
from vqpriors.inference.settings import settings_besides_options

CANVAS = 364  # edge of a picture to edit, screen pixels
RUNNING = "drawing ..."
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

        notes = generator.warnings_of([prompt])
        yield from _stream_results(call, describe(generator, prompt, settings), notes)

    def inpaint(
        self,
        name: str,
        prompt: str,
        drawing: dict[str, Any] | None,
        paste: bool,
        *controls: Any,
    ) -> Iterator[Result]:
        """Redraw the painted part of a picture, and keep the pixels of the others if `paste`."""
        generator, settings = parse_settings(self.generators[name], *controls)
        picture, mask = split_drawing(drawing)
        source = downscale(picture, generator.image.size)

        def call(callback: PictureCallback) -> Pictures:
            return generator.inpaint(
                source, mask, prompt, paste=paste, callback=callback, **settings
            )

        record = describe(generator, prompt, settings) | {"paste": paste}
        yield from _stream_results(call, record, generator.warnings_of([prompt]))

    def caption(
        self, name: str, upload: dict[str, Any] | None, seed: float | None
    ) -> Iterator[tuple[str, str]]:
        """Caption a picture; the first output is the place of errors."""
        generator = self.generators[name]
        picture = _decode_upload(upload, generator)
        yield "", generator.caption(picture, seed=_integer("Seed", seed))[0]

    def reconstruct(self, name: str, upload: dict[str, Any] | None) -> Iterator[str]:
        """Show the tokenizer's input and its reconstruction side by side."""
        generator = self.generators[name]
        source = preprocess(_decode_upload(upload, generator), generator.image)
        notes = ("tokenizer input", f"reconstruction from {generator.spec.length} codes")
        yield tiles([source, generator.reconstruct(source)], notes)


def show_errors(
    handler: Callable[..., Iterator[Any]], *, others: int
) -> Callable[..., Iterator[Any]]:
    """Wrap a handler, so that a ValueError becomes a line in its first output, an HTML component.

    Args:
        handler: The handler.
        others: The number of its other outputs, which stay as they are.
    """

    @wraps(handler)
    def wrapped(*arguments: Any) -> Iterator[Any]:
        try:
            yield from handler(*arguments)
        except ValueError as error:
            line = error_line(str(error))
            yield (line, *(gr.skip() for _ in range(others))) if others else line

    return wrapped


def error_line(reason: str) -> str:
    """Return HTML of an error, as plain text in one line."""
    return f'<p class="note error" role="alert">{escape(" ".join(reason.split()))}</p>'


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
        temperature: See `Generator.__call__`; the slider's default stands for none.
        guidance: See `Generator.__call__`.
        order: One of `decoding_orders`; ignored if there are none.

    Raises:
        ValueError: If a value is missing, or the order is unknown.
    """
    settings: dict[str, Any] = {"guidance": guidance}
    if temperature != generator.sampler.config.temperature:  # the default depends on the steps
        settings["temperature"] = temperature
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


def describe(generator: Generator, prompt: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the pictures of a call depend on, for the text chunks of their files."""
    used = {"temperature": generator.temperature_for(settings.get("steps")), **settings}
    used.pop("num_samples", None)
    used |= settings_besides_options(generator.defaults, generator.sampler)
    model = {"prior": generator.arch, "model": generator.fingerprint}
    return {"prompt": prompt, **used, **model}


def _stream_results(
    draw: Callable[[PictureCallback], Pictures], record: Mapping[str, Any], notes: Sequence[str]
) -> Iterator[Result]:
    above = "".join(f'<p class="note">{escape(each)}</p>' for each in notes)
    start, pictures, seed = time.perf_counter(), [], record["seed"]
    for pictures in stream_previews(draw):
        yield f'{above}{tiles(pictures)}<p class="status">{RUNNING}</p>', seed, pictures
    seconds = time.perf_counter() - start
    status = f"{len(pictures)} picture{'s' * (len(pictures) > 1)} in {seconds:.1f} s, seed {seed}"
    link = download_link(pictures, record)
    yield f'{above}{tiles(pictures)}<p class="status">{status}, {link}</p>', seed, pictures


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
