"""The command `generate`: draw pictures from prompts, or redraw parts of one."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqpriors.cli.abilities import Abilities, abilities_of, read_abilities
from vqpriors.cli.loading import load_generator
from vqpriors.cli.options import SAMPLES
from vqpriors.cli.results import LIST, check_folder, make_numbered_folder, save_pictures
from vqpriors.inference.limits import (
    EXAMPLE_PROMPT,
    MAX_PIXELS,
    require_options,
    require_prompts,
)

if TYPE_CHECKING:
    from PIL import Image

    from vqpriors.inference.generator import Generator

SETTINGS = ("num_samples", "steps", "temperature", "guidance", "seed")
_LOG = logging.getLogger(__name__)


def generate(options: argparse.Namespace) -> None:
    """Draw pictures and write them to a folder.

    Raises:
        ValueError: If an option is missing, out of range or not supported by the prior.
    """
    prompts = _read_prompts(options)
    sampling = {name: getattr(options, name) for name in SETTINGS if name != "num_samples"}
    require_options(**sampling)
    require_prompts(prompts or [""], options.num_samples)
    if not options.paste and not options.inpaint:
        _LOG.warning("--no-paste: changes nothing without --inpaint")
    given = options.inpaint or ([options.vary] if options.vary else [])
    images = [open_picture(path) for path in given]
    if options.inpaint:
        _tell_of_whole_mask(images[1])
    if options.out:
        check_folder(options.out)
    known = read_abilities(options.source, options.rev)
    if known:
        _check_abilities(options, known)

    # After the checks that need no model, since importing torch is slow.
    generator = load_generator(options.source, options.rev, compile=options.compile)
    _LOG.info("loaded %r", generator)
    if not known:
        _check_abilities(options, abilities_of(generator))
    settings = {name: getattr(options, name) for name in SETTINGS}
    frames: list[list[Image.Image]] = []
    if options.animate:
        _require_one_batch(
            max(1, len(prompts)) * options.num_samples, generator.defaults.batch_size
        )
        settings["callback"] = frames.append
    if options.inpaint:
        settings["paste"] = options.paste
        pictures = generator.inpaint(images[0], images[1], "".join(prompts), **settings)
    elif options.vary:
        pictures = generator.vary(images[0], "".join(prompts), **settings)
    else:
        pictures = generator(prompts, **settings)
    prompts = prompts or [""]
    sheet = _sheet(pictures, prompts)
    if frames:
        from vqpriors.figures.animation import require_gif_size

        require_gif_size(*sheet.size)
    folder = options.out or make_numbered_folder(SAMPLES)
    save_pictures(
        folder,
        pictures,
        _records(generator, options, prompts),
        sheet=sheet,
        frames=[_sheet(frame, prompts) for frame in frames],
    )
    count = f"{len(pictures):,} picture{'s' * (len(pictures) > 1)}"
    print(f"{count}, sheet.png{', sheet.gif' if frames else ''} and {LIST} in {folder}")


def open_picture(path: Path) -> "Image.Image":
    """Decode a picture of the command line; a ValueError names its file."""
    from vqpriors.data.decoding import BadImageError, decode

    try:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    except BadImageError as error:
        raise ValueError(f"{path}: {error}") from None


def _tell_of_whole_mask(mask: "Image.Image") -> None:
    from vqpriors.data.decoding import BadImageError
    from vqpriors.inference.masks import marked_pixels

    try:
        is_whole = marked_pixels(mask).all()
    except BadImageError as error:
        raise ValueError(f"mask: {error}") from None
    if is_whole:
        problem = "mask: all of it is white, so the whole picture is redrawn"
        _LOG.warning("%s; paint black what is to be kept", problem)


def _read_prompts(options: argparse.Namespace) -> list[str]:
    prompts = [*options.prompt, *_lines(options.prompts)]
    if options.inpaint and options.vary:
        raise ValueError("--vary: not together with --inpaint; leave one out")
    is_redrawn = options.inpaint or options.vary
    if not prompts and not is_redrawn:
        raise ValueError(f'--prompt: missing; give one, such as --prompt "{EXAMPLE_PROMPT}"')
    if is_redrawn and len(prompts) > 1:
        raise ValueError("--prompt: at most one with --inpaint or --vary")
    if any(map(_has_surrogates, prompts)):
        raise ValueError("--prompt: not UTF-8 text")
    return prompts


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    if found := [line.strip() for line in lines if line.strip()]:
        return found
    raise ValueError(f"{path}: no prompt in it; write one per line")


def _has_surrogates(text: str) -> bool:
    """Return whether Python has stored bytes in it that are not UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_abilities(options: argparse.Namespace, known: Abilities) -> None:
    """Refuse what the prior can't do, and ignore with a warning what changes nothing."""
    if options.inpaint or options.vary:
        known.require_redrawing("--inpaint" if options.inpaint else "--vary")
    if options.steps is not None and not known.has_steps:
        _LOG.warning("--steps: ignored, since %s draws one code after another", known.arch)
        options.steps = None
    if options.compile and known.arch == "lstm":
        _LOG.warning("--compile: ignored, since the prior is lstm")
        options.compile = None
    if not known.reads_text:
        used = {"--prompt": any(options.prompt), "--prompts": options.prompts}
        used["--guidance"] = options.guidance is not None
        for option in (name for name, is_used in used.items() if is_used):
            _LOG.warning("%s: changes nothing, since this model was trained without text", option)


def _require_one_batch(count: int, batch_size: int) -> None:
    """Check that all pictures are in one batch, since batches are previewed one after another."""
    if count > batch_size:
        raise ValueError(
            f"--animate: at most {batch_size:,} pictures, which is one batch (sample.batch_size), "
            f"got {count:,}"
        )


def _records(
    generator: "Generator", options: argparse.Namespace, prompts: list[str]
) -> list[dict[str, Any]]:
    """Describe each picture by all that it depends on; no time, so that files are reproducible."""
    defaults = {
        "steps": generator.defaults.steps,
        "guidance": generator.defaults.guidance,
        "temperature": generator.temperature_for(options.steps),
    }
    used = {
        name: defaults[name] if getattr(options, name) is None else getattr(options, name)
        for name in ("steps", "guidance", "temperature")
        if name != "steps" or generator.has_steps
    }
    given: dict[str, Any] = {}
    if options.inpaint:
        given = {"inpaint": options.inpaint[0].name, "mask": options.inpaint[1].name}
        given["paste"] = options.paste
    elif options.vary:
        given = {"vary": options.vary.name}
    from vqpriors.inference.settings import settings_besides_options

    used |= settings_besides_options(generator.defaults, generator.sampler)
    model = {"prior": generator.arch, "model": generator.fingerprint}
    return [
        {"file": f"{i:03d}-{k:03d}.png", "prompt": prompt, "seed": options.seed}
        | {"number": i * options.num_samples + k, **used, **given, **model}
        for i, prompt in enumerate(prompts)
        for k in range(options.num_samples)
    ]


def _sheet(pictures: list["Image.Image"], prompts: list[str]) -> "Image.Image":
    import numpy as np

    from vqpriors.figures.sheets import captioned_sheet

    pixels = [np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1) for picture in pictures]
    rows = np.stack(pixels).reshape(len(prompts), -1, *pixels[0].shape)
    return captioned_sheet(rows, prompts)
