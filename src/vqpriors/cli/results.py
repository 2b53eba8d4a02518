"""The folder of a call: pictures that name their settings, a sheet, and a list as JSON lines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

LIST = "pictures.jsonl"


def check_folder(folder: Path) -> None:
    """Refuse a folder that has contents, so that no call replaces or mixes with other files.

    Raises:
        ValueError: If it is a file, or a folder that is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: {folder}: is a file; choose a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"--out: {folder}: is not empty; choose another folder")


def make_numbered_folder(parent: Path) -> Path:
    """Create the next folder of `parent`: 0001, 0002, ...; two calls never get the same one."""
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
    number = max(taken, default=0)
    while True:
        number += 1
        folder = parent / f"{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another call was faster
            continue
        return folder


def save_pictures(
    folder: Path,
    pictures: Sequence["Image.Image"],
    records: Sequence[Mapping[str, Any]],
    *,
    sheet: "Image.Image",
    frames: Sequence["Image.Image"] = (),
) -> None:
    """Write the files of a call; the list is the last, so a folder with it is complete.

    Args:
        folder: Created if missing.
        pictures: M pictures.
        records: The settings of each picture, JSON values; `file` is its name in the folder. A
            picture has the others as text chunks, which `Image.open(file).text` reads.
        sheet: The sheet of all pictures.
        frames: Frames of a GIF; empty for none.
    """
    from vqpriors.core.artifact import new_file
    from vqpriors.figures.animation import save_gif
    from vqpriors.figures.sheets import save_png

    for picture, record in zip(pictures, records, strict=True):
        described = {key: value for key, value in record.items() if key != "file"}
        save_png(picture, folder / record["file"], described)
    shared = {k: v for k, v in records[0].items() if all(each[k] == v for each in records)}
    save_png(sheet, folder / "sheet.png", shared)
    if frames:
        save_gif(frames, folder / "sheet.gif")
    with new_file(folder / LIST) as file:
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
