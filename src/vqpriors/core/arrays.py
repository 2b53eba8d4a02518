"""Arrays that may exceed memory: memory maps of temporary files, and columns of strings."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from math import prod
from typing import overload

import numpy as np
import pyarrow as pa

LARGE = 2**28  # bytes; arrays of this size or more lie on disk
CHUNK = 4096  # strings converted to Python objects at a time


def zeros(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return an array of zeros; a large one is a memory map of a temporary file.

    The file has no name and lies in the folder for temporary files (set TMPDIR to change it). Its
    space is allocated at once, so a full disk raises an error here instead of a crash on writing.
    Its pages belong to the system's page cache, not to the memory of this process.

    Raises:
        OSError: If the disk has no space for it.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


class StringColumn(Sequence[str]):
    """Strings by dictionary encoding: each distinct string is stored once.

    Attributes:
        distinct: The distinct strings, after the empty one, which is always included.
        rows: Index into `distinct` of each string; (M,) int64.
    """

    def __init__(self, column: pa.ChunkedArray):
        """Encode a column of strings, plain or dictionary-encoded."""
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
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.distinct.take(pa.array(self.rows[index])).to_pylist()
        return self.distinct[int(self.rows[index])].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]
