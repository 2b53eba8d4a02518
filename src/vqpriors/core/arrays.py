"""Arrays that may be larger than memory: then on disk, in a file that goes with the process."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from math import prod
from typing import overload

import numpy as np
import pyarrow as pa

LARGE = 2**28  # bytes, from which an array lies on disk
CHUNK = 4096  # strings turned into objects at a time


def empty_array(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return an array of zeros to be filled, on disk where it is large.

    The file has no name, lies in the folder for temporary files (TMPDIR chooses another), and takes
    its space at once, so that a full disk is an error here rather than a crash when it is filled.
    Its pages count as the system's cache, not as memory of this process.

    Raises:
        OSError: If there is no space for it.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


class Texts(Sequence[str]):
    """Strings in a few long pieces of memory rather than an object each.

    Attributes:
        distinct: The different ones, the empty one first, there or not.
        rows: Which of them stands at each place; (M,) int64.
    """

    def __init__(self, column: pa.ChunkedArray):
        """Take a column of strings, plain or as a dictionary."""
        empty = pa.array([""], pa.string()).dictionary_encode()
        plain = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        encoded = plain.dictionary_encode().combine_chunks()
        joined = pa.chunked_array([empty, encoded]).unify_dictionaries()
        self.distinct: pa.StringArray = joined.chunk(0).dictionary
        self.rows = joined.chunk(joined.num_chunks - 1).indices.to_numpy().astype(np.int64)
        if not len(encoded):
            self.rows = self.rows[:0]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return self.distinct.take(pa.array(self.rows[place])).to_pylist()
        return self.distinct[int(self.rows[place])].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]
