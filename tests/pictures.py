"""PNG files that Pillow can't write: any depth, with a transparent gray level or colour."""

import struct
import zlib

import numpy as np


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(depth, samples, *, transparent, color=False):
    """Encode a row of samples as a PNG of any depth, with one transparent colour.

    Args:
        depth: Bits of a sample.
        samples: Gray levels, or triples of them.
        transparent: One of the samples.
        color: Whether they are triples.
    """
    flat = np.array(samples).reshape(-1)
    bits = "".join(f"{value:0{depth}b}" for value in flat)
    size = -(-len(bits) // 8)
    data = int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")
    header = struct.pack(">IIBBBBB", len(samples), 1, depth, 2 if color else 0, 0, 0, 0)
    clear = b"".join(struct.pack(">H", value) for value in np.atleast_1d(transparent).tolist())
    parts = {b"IHDR": header, b"tRNS": clear, b"IDAT": zlib.compress(b"\0" + data), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())
