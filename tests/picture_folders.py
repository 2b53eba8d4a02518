"""Folders of pictures for tests of the source `imagefolder`."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

import stages
from vqpriors.core.params import check
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


def write(folder: Path, files):
    """Write files by name: None is a picture, lists become lines of JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = encoded()
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
    """Return the key and the rest of the error's message, with paths relative to the folder."""
    with pytest.raises(ValueError, match=rf"^{PARAM}\.") as caught:
        build(folder, **changes)
    text = str(caught.value)
    assert stages._one_line(caught.value, "download") == text
    return text.removeprefix(f"{PARAM}.").replace(f"{folder}/", "").replace(str(folder), ".")
