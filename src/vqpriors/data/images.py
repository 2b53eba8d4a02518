"""Image sets: parquet shards of each split, and `source.json` with their provenance."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from vqpriors.core.arrays import zeros
from vqpriors.core.artifact import verify
from vqpriors.data.shards import count_rows, read_batches, read_schema, read_split, shard_paths

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
    ]
)
# Only where pictures of the training split have several captions that are all used.
ALL_CAPTIONS = pa.field("all_captions", pa.list_(pa.string()), nullable=False)
ROWS_AT_A_TIME = 1024
_FIX = "write it again with `dvc repro`"


@dataclass(frozen=True)
class ImageSet:
    """Pictures, captions, labels and attributes of one split.

    Attributes:
        ids: M ids.
        groups: M names; pictures made from one original share a name. Standard errors treat the
            groups, not the pictures, as independent.
        pixels: (M, C, H, W) uint8.
        captions: M captions, some possibly empty.
        labels: M class names; None for rows without one.
        attributes: M mappings from attribute to value; empty for rows without any.
        all_captions: M lists of all captions of a picture, the first of which is also in
            `captions`; None if only that one is used.
    """

    ids: list[str]
    groups: list[str]
    pixels: np.ndarray
    captions: list[str]
    labels: list[str | None]
    attributes: list[dict[str, str]]
    all_captions: list[list[str]] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def read_images(folder: Path, split: str) -> ImageSet:
    """Read one split of an image set; a large array of pixels is a memory map.

    Args:
        folder: Output of the download stage.
        split: "train", "validation" or "test".

    Raises:
        ValueError: If the folder or a picture is damaged, or the split is empty or not of `SCHEMA`.
    """
    verify(folder)
    return _collect(shard_paths(folder, split), source=folder / split)


def read_image_shard(path: Path) -> ImageSet:
    """Read one shard of an image set; the caller has verified the folder.

    Raises:
        ValueError: If a picture is damaged, or the shard is empty or not of `SCHEMA`.
    """
    return _collect([path], source=path)


def _collect(paths: Sequence[Path], *, source: Path) -> ImageSet:
    schema = read_schema(paths[0])
    is_known = schema.equals(SCHEMA) or schema.equals(SCHEMA.append(ALL_CAPTIONS))
    if not is_known or not all(read_schema(path).equals(schema) for path in paths):
        raise ValueError(f"{source}: its columns are not those of the image schema; {_FIX}")
    count, start = count_rows(paths), 0
    found: dict[str, list[Any]] = {name: [] for name in schema.names if name != "image"}
    pixels: np.ndarray | None = None
    for batch in read_batches(paths, rows=ROWS_AT_A_TIME):
        columns = batch.to_pydict()
        for name, data in zip(columns["id"], columns["image"], strict=True):
            picture = _decoded(name, data, source)
            if pixels is None:
                pixels = zeros((count, *picture.shape), np.uint8)
            pixels[start] = picture
            start += 1
        for name, values in found.items():
            values.extend(columns[name])
    if pixels is None:
        raise ValueError(f"{source}: the split is empty; {_FIX}")
    return ImageSet(
        ids=found["id"],
        groups=found["group"],
        pixels=pixels,
        captions=found["caption"],
        labels=found["label"],
        attributes=[dict(pairs or ()) for pairs in found["attributes"]],
        all_captions=found.get(ALL_CAPTIONS.name),
    )


def _decoded(name: str, data: bytes, source: Path) -> np.ndarray:
    try:
        return decode_pixels(data)
    except (OSError, SyntaxError, ValueError):  # Pillow raises all of them for a broken PNG
        raise ValueError(f"{source}: picture {name!r} can't be decoded; {_FIX}") from None


def read_captions(folder: Path, split: str) -> list[str]:
    """Read the captions of one split without its pictures, of several captions of a picture all.

    Raises:
        ValueError: If the folder is damaged or has no captions.
    """
    verify(folder)
    has_all = ALL_CAPTIONS.name in read_schema(shard_paths(folder, split)[0]).names
    field = ALL_CAPTIONS if has_all else SCHEMA.field("caption")
    table = read_split(folder, split, columns=[field.name])
    if not table.num_rows or not table.schema.equals(pa.schema([field])):
        raise ValueError(f"{folder}: its {split!r} split has no captions; {_FIX}")
    found = table.column(field.name).to_pylist()
    return [caption for captions in found for caption in captions] if has_all else found


def read_source(folder: Path) -> dict[str, Any]:
    """Return the provenance of an image set, at least `name`, `image_size` and `channels`."""
    return json.loads((folder / "source.json").read_text())


def decode_pixels(data: bytes) -> np.ndarray:
    """Decode a PNG from `encode_png` to (C, H, W) uint8 with C = 1 or 3."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode (C, H, W) uint8 with C = 1 or 3 as PNG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
