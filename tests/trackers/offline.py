"""Reader of offline runs of Weights & Biases: records in the log format of LevelDB."""

import json
import struct
from collections import defaultdict
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7  # bytes; a file begins with a header as long as that of a chunk


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curve of each name over all the files of one run below a folder."""
    curves = defaultdict(list)
    for path in sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime):
        for data in _records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("history"):
                _add(record.history, curves)
    return curves


def _add(history, curves):
    items = {"/".join(item.nested_key) or item.key: item.value_json for item in history.item}
    for name, value in items.items():
        if not name.startswith("_"):
            curves[name].append((int(json.loads(items["_step"])), json.loads(value)))


def _records(data: bytes):
    place, parts = HEADER, []
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:  # too little of the block is left for a chunk
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts.append(data[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last of several
            yield b"".join(parts)
            parts = []
