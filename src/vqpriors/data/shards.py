"""Parquet shards by split, named as on the Hugging Face Hub.

The files of a split are `SPLIT-00000-of-00003.parquet` and so on, with its rows in order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "validation", "test")


def write_split(folder: Path, split: str, table: pa.Table, *, rows_per_shard: int) -> None:
    """Write one split's rows as shards.

    Args:
        folder: An existing folder, usually the temporary one of `artifact.new_folder`.
        split: One of `SPLITS`.
        table: The rows, in order.
        rows_per_shard: Rows of every shard except the last.
    """
    count = max(1, -(-table.num_rows // rows_per_shard))
    for shard in range(count):
        rows = table.slice(shard * rows_per_shard, rows_per_shard)
        pq.write_table(
            rows, folder / f"{split}-{shard:05d}-of-{count:05d}.parquet", compression="zstd"
        )


def read_split(folder: Path, split: str, *, columns: list[str] | None = None) -> pa.Table:
    """Read one split's rows, in order.

    Args:
        folder: A folder of shards.
        split: One of `SPLITS`.
        columns: The columns to read; None for all.

    Raises:
        ValueError: If the folder has no complete set of shards of that split, or one can't be read.
    """
    tables = [_read(path, columns) for path in shard_paths(folder, split)]
    return pa.concat_tables(tables)


def shard_paths(folder: Path, split: str) -> list[Path]:
    """List the shards of a split in order.

    Raises:
        ValueError: If there are none, or one is missing.
    """
    paths = sorted(folder.glob(f"{split}-*-of-*.parquet"))
    expected = [f"{split}-{i:05d}-of-{len(paths):05d}.parquet" for i in range(len(paths))]
    if not paths or [path.name for path in paths] != expected:
        raise ValueError(
            f"{folder}: no complete set of {split!r} shards; write it again with `dvc repro`"
        )
    return paths


def read_schema(path: Path) -> pa.Schema:
    """Read a shard's schema only.

    Raises:
        ValueError: If it can't be read.
    """
    with _readable(path):
        return pq.read_schema(path)


def count_rows(paths: Sequence[Path]) -> int:
    """Count the rows of shards from their metadata.

    Raises:
        ValueError: If a shard can't be read.
    """
    count = 0
    for path in paths:
        with _readable(path):
            count += pq.read_metadata(path).num_rows
    return count


def read_batches(paths: Sequence[Path], *, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of shards in order, with at most one shard in memory.

    Args:
        paths: The shards.
        rows: Maximum number of rows per batch.

    Raises:
        ValueError: If a shard can't be read.
    """
    for path in paths:
        with _readable(path), pq.ParquetFile(path) as shard:
            yield from shard.iter_batches(rows)
        pa.default_memory_pool().release_unused()  # otherwise pyarrow keeps it for later shards


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    with _readable(path):
        return pq.read_table(path, columns=columns)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn read errors into a ValueError that names the file and the fix."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not readable as parquet ({reason}); restore it with `dvc checkout`"
        ) from None
