"""Drawn pictures as files, with the settings that they were drawn with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqpriors.core.artifact import new_file, verify
from vqpriors.figures.animation import save_gif
from vqpriors.figures.sheets import captioned_sheet, save_png
from vqpriors.inference.generator import Generator
from vqpriors.inference.settings import SamplingOptions

MANIFEST = "pictures.jsonl"


def save_pictures(
    folder: Path,
    pictures: Sequence[Image.Image],
    prompts: Sequence[str],
    *,
    settings: Mapping[str, Any],
    frames: Sequence[Sequence[Image.Image]] = (),
) -> Path:
    """Write pictures and a sheet of them to a new numbered folder.

    Each PNG file has its prompt and the settings as text chunks; `pictures.jsonl` has them, too.

    Args:
        folder: Where to make the folder: 000, or the next number that is free.
        pictures: As many for each prompt; all of the first prompt, then of the next.
        prompts: The prompts.
        settings: Settings of the call, such as the seed.
        frames: The pictures after each decoding step, for sheet.gif; none to leave it out.

    Returns:
        The new folder.
    """
    folder = _new_folder(folder)
    num_samples, rows = len(pictures) // len(prompts), []
    for number, picture in enumerate(pictures):
        prompt, sample = divmod(number, num_samples)
        row = {"prompt": prompts[prompt], "sample": sample, **settings}
        rows.append({"file": f"{prompt:03d}-{sample:03d}.png", **row})
        text = {name: str(value) for name, value in row.items()}
        save_png(picture, folder / rows[-1]["file"], text)
    with new_file(folder / MANIFEST) as file:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    save_png(_sheet(pictures, prompts), folder / "sheet.png")
    if frames:
        save_gif([_sheet(frame, prompts) for frame in frames], folder / "sheet.gif")
    return folder


def settings_of(generator: Generator, options: SamplingOptions) -> dict[str, Any]:
    """Return all settings of a call: the options, or the defaults of those not given.

    Returns:
        "seed", "temperature", "guidance", "steps" if the prior has a choice, and "model", the first
        digits of the fingerprint of the prior's files.
    """
    defaults, own = generator.defaults, generator.sampler.config.temperature
    steps = {"steps": options.steps or defaults.steps} if generator.has_steps else {}
    return {
        "seed": options.seed,
        "temperature": own if options.temperature is None else options.temperature,
        "guidance": defaults.guidance if options.guidance is None else options.guidance,
        **steps,
        "model": verify(generator.folder / "prior")[:12],
    }


def _new_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _sheet(pictures: Sequence[Image.Image], prompts: Sequence[str]) -> Image.Image:
    pixels = [np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1) for picture in pictures]
    rows = np.stack(pixels).reshape(len(prompts), -1, *pixels[0].shape)
    return captioned_sheet(rows, list(prompts))
