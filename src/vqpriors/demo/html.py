"""HTML of pictures, and of a link that downloads them; the data is in the page itself."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from zipfile import ZipFile, ZipInfo

from PIL import Image

from vqpriors.demo.streaming import upscale
from vqpriors.figures.sheets import png_bytes

TILE, SINGLE_TILE = 196, 392  # screen pixels


def tiles(pictures: Sequence[Image.Image], notes: Sequence[str] = ()) -> str:
    """Return HTML of pictures side by side, with a note below each if there are notes."""
    edge = SINGLE_TILE if len(pictures) == 1 else TILE
    figures = []
    for i, picture in enumerate(pictures):
        large, file = upscale(picture, edge), io.BytesIO()
        large.save(file, format="PNG")
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        size = f'width="{large.width}" height="{large.height}"'
        note = f"<figcaption>{escape(notes[i])}</figcaption>" if notes else ""
        figures.append(f'<figure><img src="{source}" {size} alt="picture {i + 1}">{note}</figure>')
    return f'<div class="tiles">{"".join(figures)}</div>'


def download_link(pictures: Sequence[Image.Image], record: Mapping[str, Any]) -> str:
    """Return a link that saves pictures: one as a PNG, several as a ZIP of PNGs.

    Args:
        pictures: At least one picture, saved in its own size.
        record: What they depend on; each file has it, and the picture's number, as text chunks.
    """
    files = {
        f"000-{i:03d}.png": png_bytes(picture, {**record, "number": i})
        for i, picture in enumerate(pictures)
    }
    if len(files) == 1:
        ((name, data),) = files.items()
        kind = "image/png"
    else:
        name, data, kind = "pictures.zip", _archive(files), "application/zip"
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<a href="{address}" download="{escape(name)}">download</a>'


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with ZipFile(archive, "w") as target:
        for name, data in files.items():
            target.writestr(ZipInfo(name), data)  # its date is constant
    return archive.getvalue()
