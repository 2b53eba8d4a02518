"""A source in memory, and its image sets."""

import io

from PIL import Image

from vqpriors.core.artifact import new_folder
from vqpriors.core.params import check
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, prepare
from vqpriors.sources.base.source import Record

SPLITS = {
    "train": "train",
    "validation": None,
    "test": None,
    "validation_share": 0.2,
    "test_share": 0.2,
}
RECIPE = {
    "source": "memory",
    "image": {"size": 8, "channels": 3, "resize": "crop", "background": "black"},
    "caption": "a {label}",
    "captions": "first",
    "limit": None,
    "splits": SPLITS,
}
DECODING = {"max_pixels": 1000, "max_bad_share": 0.5, "rows_per_shard": 4}


class Memory:
    def __init__(self, rows):
        self.rows = rows
        self.notes = []
        self.provenance = {"sha256": "0"}
        self.sizes = {"train": len(rows)}

    def records(self, split, rows):
        assert split == "train"
        return (self.rows[row] for row in rows)


def png(value=0, size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def record(index, image=None, caption=None, label="bag", attributes=None, **fields):
    data = png(index) if image is None else image
    return Record(f"id-{index}", data, caption, label, attributes or {}, **fields)


def bad(index, data):
    return Record(f"id-{index}", data, None, "bag", {})


def made(path, rows, decoding=None, seed=0, **recipe):
    with new_folder(path / "images") as folder:
        return prepare(
            Memory(rows),
            check("data.x", RECIPE | recipe, DatasetConfig),
            check("data.decoding", DECODING | (decoding or {}), DecodingConfig),
            param="data.x",
            seed=seed,
            folder=folder,
        )
