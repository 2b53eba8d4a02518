"""What the page's buttons do. All of it yields, so that pictures can come as they form."""

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
    as_they_form,
    as_tokenized,
    enlarged,
    painted,
    restored,
)
from vqpriors.inference.generator import Generator, Look
from vqpriors.inference.limits import MAX_PIXELS

TILE, LONE_TILE, CANVAS = 196, 392, 364  # pixels of a screen
Shown = tuple[str, int, Pictures]
"""HTML, the seed, and the pictures."""


@dataclasses.dataclass(frozen=True)
class Acts:
    """What can be done with the generators that the page was started with, by their names."""

    generators: Mapping[str, Generator]

    def draw(self, name: str, prompt: str, *wishes: Any) -> Iterator[Shown]:
        """Draw pictures of a prompt."""
        generator, how = wanted(self.generators[name], *wishes)
        yield from _shown(lambda look: generator(prompt, look=look, **how), how["seed"])

    def inpaint(
        self, name: str, prompt: str, drawing: dict[str, Any] | None, *wishes: Any
    ) -> Iterator[Shown]:
        """Draw what is painted over again."""
        generator, how = wanted(self.generators[name], *wishes)
        picture, mask = painted(drawing)
        given = restored(picture, generator.image.size)
        yield from _shown(
            lambda look: generator.inpaint(given, mask, prompt, look=look, **how), how["seed"]
        )

    def caption(
        self, name: str, upload: dict[str, Any] | None, seed: float | None
    ) -> Iterator[str]:
        """Write a picture's caption."""
        generator = self.generators[name]
        yield generator.caption(_uploaded(upload, generator), seed=_whole("seed", seed))[0]

    def reconstruct(self, name: str, upload: dict[str, Any] | None) -> Iterator[str]:
        """Show a picture as the tokenizer sees it beside what its codes tell."""
        generator = self.generators[name]
        seen = as_tokenized(_uploaded(upload, generator), generator.image)
        notes = ("as the tokenizer sees it", f"as its {generator.spec.length} codes tell it")
        yield tiles([seen, generator.reconstruct(seen)], notes)


def told(act: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Let an act end with one line on the page where the user got something wrong."""

    @wraps(act)
    def acting(*given: Any) -> Iterator[Any]:
        try:
            yield from act(*given)
        except ValueError as error:
            raise problem(str(error)) from None

    return acting


def problem(reason: str) -> gr.Error:
    """Return what shows a reason on the page, as text, and leaves no traceback."""
    return gr.Error(escape(" ".join(reason.split())), print_exception=False)


def orders(generator: Generator) -> tuple[str, ...]:
    """Return the orders in which codes can be written; empty where there is no choice."""
    field = type(generator.sampler.config).model_fields.get("order")
    return get_args(field.annotation) if field else ()


def wanted(
    generator: Generator,
    count: float,
    seed: float | None,
    is_new_seed: bool,
    steps: float,
    temperature: float,
    guidance: float,
    order: str | None,
) -> tuple[Generator, dict[str, Any]]:
    """Turn the page's settings into a generator, and arguments for it.

    Args:
        generator: Of the chosen prior.
        count: Pictures.
        seed: Not used where a new one is wanted.
        is_new_seed: Whether to take a new one.
        steps: Passes; not used where the sampler leaves no choice.
        temperature: As of a call.
        guidance: As of a call.
        order: One of `orders`; not used where there is no choice.

    Raises:
        ValueError: If something is missing, or the order is unknown.
    """
    how: dict[str, Any] = {"temperature": temperature, "guidance": guidance}
    how["num_samples"] = _whole("pictures", count)
    how["seed"] = secrets.randbelow(2**31) if is_new_seed else _whole("seed", seed)
    if generator.has_steps:
        how["steps"] = _whole("steps", steps)
    if not (known := orders(generator)):
        return generator, how
    if order not in known:
        raise ValueError(f"order: must be one of {', '.join(known)}, got {order}; choose another")
    config = generator.sampler.changed({"order": order})
    sampler = dataclasses.replace(generator.sampler, config=config)
    return dataclasses.replace(generator, sampler=sampler), how


def tiles(pictures: Sequence[Image.Image], notes: Sequence[str] = ()) -> str:
    """Return HTML of pictures side by side, a note below each where there are notes."""
    edge = LONE_TILE if len(pictures) == 1 else TILE
    figures = []
    for i, picture in enumerate(pictures):
        shown, file = enlarged(picture, edge), io.BytesIO()
        shown.save(file, format="PNG")
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        size = f'width="{shown.width}" height="{shown.height}"'
        note = f"<figcaption>{escape(notes[i])}</figcaption>" if notes else ""
        figures.append(f'<figure><img src="{source}" {size} alt="picture {i + 1}">{note}</figure>')
    return f'<div class="tiles">{"".join(figures)}</div>'


def _shown(draw: Callable[[Look], Pictures], seed: int) -> Iterator[Shown]:
    start, pictures = time.perf_counter(), []
    for pictures in as_they_form(draw):
        yield f'{tiles(pictures)}<p class="status">drawing ...</p>', seed, pictures
    seconds = time.perf_counter() - start
    done = f"{len(pictures)} picture{'s' * (len(pictures) > 1)} in {seconds:.1f} s, seed {seed}"
    yield f'{tiles(pictures)}<p class="status">{done}</p>', seed, pictures


def _uploaded(upload: dict[str, Any] | None, generator: Generator) -> Image.Image:
    """Decode a file that is said to be a picture; gradio has checked that it was uploaded."""
    if upload is None or upload["path"] is None:
        raise ValueError(NO_PICTURE)
    try:
        picture = decode(Path(upload["path"]).read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"picture: {error}; give another") from None
    return restored(picture, generator.image.size)


def _whole(name: str, value: float | None) -> int:
    if value is None:
        raise ValueError(f"{name}: there is none; give a whole number")
    return int(value)
