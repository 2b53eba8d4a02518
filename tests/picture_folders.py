"""Folders of pictures for tests of the source `imagefolder`."""

import io
import json
from pathlib import Path

from PIL import Image

from stages import download
from vqpriors.core.params import Params, check
from vqpriors.sources import imagefolder

PARAM = "data.x.imagefolder"
VALUES = {
    "location": "",
    "caption_column": None,
    "label_column": None,
    "attribute_columns": [],
    "class_folders": "auto",
}


def encoded(color="red", form="PNG", **options):
    """Return a small encoded picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, form, **options)
    return buffer.getvalue()


def write(folder: Path, *pictures: str, **files):
    """Write pictures, and other files: `metadata_csv="..."` is metadata.csv."""
    write_files(folder, dict.fromkeys(pictures, encoded()))
    write_files(folder, {name.replace("_", "."): content for name, content in files.items()})
    return folder


def write_files(folder: Path, files):
    """Write files by name; lists become lines of JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def build(folder, **changes):
    """Build the source of a folder."""
    values = VALUES | {"location": str(folder)} | changes
    return imagefolder.build(check(PARAM, values, imagefolder.Config), seed=0, param=PARAM)


def records(source, split="train"):
    """Return all records of a split."""
    return list(source.records(split, range(source.sizes[split])))


def problem(folder, **changes):
    """Return the message of the error without its param."""
    try:
        found = build(folder, **changes)
    except ValueError as error:
        text = str(error)
        assert text.startswith(f"{PARAM}.")
        assert "\n" not in text
        return text.partition(": ")[2].replace(f"{folder}/", "")
    raise AssertionError(f"no error: {found.sizes}, {found.notes}")


def run_download(folder, work, monkeypatch, params, **changes):
    """Run the stage on a folder in `work`; `changes` are of `data.folder`."""
    params["data"]["name"] = "folder"
    section = params["data"]["folder"]
    section["imagefolder"]["location"] = str(folder)
    for key, value in changes.items():
        (section["imagefolder"] if key in section["imagefolder"] else section)[key] = value
    work.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(work)
    download.main(Params(params))
