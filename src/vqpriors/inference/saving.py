"""Drawn pictures as files, with the settings that they were drawn with."""

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqpriors.core.artifact import new_file
from vqpriors.figures.animation import save_gif
from vqpriors.figures.sheets import captioned_sheet, save_png

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


def _new_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in count():
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def _sheet(pictures: Sequence[Image.Image], prompts: Sequence[str]) -> Image.Image:
    pixels = [np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1) for picture in pictures]
    rows = np.stack(pixels).reshape(len(prompts), -1, *pixels[0].shape)
    return captioned_sheet(rows, list(prompts))
