"""Token sets: codes of pictures in parquet shards, with their grid and codebook as metadata."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vqpriors.core.arrays import StringColumn, zeros
from vqpriors.core.artifact import verify
from vqpriors.data.shards import count_rows, read_batches, read_schema, shard_paths
from vqpriors.data.token_spec import TokenSpec

METADATA_KEY = b"vqpriors"
_ALL_CAPTIONS = "all_captions"  # optional column
ROWS_AT_A_TIME = 16384
_FIX = "encode the images again with `dvc repro encode`"


@dataclass(frozen=True)
class CaptionLists:
    """Several captions of each of M pictures.

    Attributes:
        texts: The captions of all pictures, picture by picture.
        starts: Place in `texts` of each picture's first caption, and the end; (M + 1,) int64.
    """

    texts: StringColumn
    starts: np.ndarray


@dataclass(frozen=True)
class TokenSet:
    """Codes and captions of one split.

    Attributes:
        spec: Grid and codebook of the codes.
        ids: M picture ids.
        captions: M captions, of several captions of a picture the first.
        codes: (M, N) uint16, raster order; a memory map if large.
        all_captions: All captions of each picture; None if it has one.
    """

    spec: TokenSpec
    ids: StringColumn
    captions: StringColumn
    codes: np.ndarray
    all_captions: CaptionLists | None = None

    def __len__(self) -> int:
        return len(self.ids)


def token_table(
    spec: TokenSpec,
    *,
    ids: Sequence[str],
    captions: Sequence[str],
    codes: np.ndarray,
    all_captions: Sequence[Sequence[str]] | None = None,
) -> pa.Table:
    """Build a table of tokens, with the spec in the metadata of its schema.

    Args:
        spec: Grid and codebook of the codes.
        ids: M picture ids.
        captions: M captions.
        codes: (M, N) integers below the codebook size.
        all_captions: M lists of captions, none empty; None if each picture has one.
    """
    flat = pa.array(codes.astype(np.uint16).reshape(-1))
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "caption": pa.array(captions, pa.string()),
            "codes": pa.FixedSizeListArray.from_arrays(flat, spec.length),
        }
    )
    if all_captions is not None:
        table = table.append_column(_ALL_CAPTIONS, pa.array(all_captions, pa.list_(pa.string())))
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(asdict(spec))})


def read_tokens(folder: Path, split: str, *, tokenizer: str) -> TokenSet:
    """Read one split of tokens, shard by shard.

    Args:
        folder: Output of the encode stage.
        split: "train", "validation" or "test".
        tokenizer: Fingerprint of the tokenizer that will decode them.

    Raises:
        ValueError: If the folder is damaged, the codes do not match their spec or lie outside the
            codebook, its shards have different specs, or another tokenizer encoded them.
    """
    verify(folder)
    paths = shard_paths(folder, split)
    schemas = [read_schema(path) for path in paths]
    for path, schema in zip(paths, schemas, strict=True):
        if _read_spec(schema, str(path)) != _read_spec(schemas[0], str(paths[0])):
            raise ValueError(
                f"{path}: its grid, codebook or tokenizer differ from {paths[0].name}; {_FIX}"
            )
    batches, schema = read_batches(paths, rows=ROWS_AT_A_TIME), schemas[0]
    count = count_rows(paths)
    return _collect(batches, schema, count=count, source=str(folder), tokenizer=tokenizer)


def parse_tokens(table: pa.Table, *, source: str, tokenizer: str) -> TokenSet:
    """Convert a table of `token_table` to a token set, with the checks of `read_tokens`.

    Args:
        table: The table.
        source: Path of the table, for errors.
        tokenizer: Fingerprint of the tokenizer that will decode the codes.

    Raises:
        ValueError: If the codes do not match their spec or lie outside the codebook, or another
            tokenizer encoded them.
    """
    batches, count = table.to_batches(), table.num_rows
    return _collect(batches, table.schema, count=count, source=source, tokenizer=tokenizer)


def _collect(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    count: int,
    source: str,
    tokenizer: str,
) -> TokenSet:
    spec = _read_spec(schema, source)
    _check_schema(schema, spec, source=source, tokenizer=tokenizer)
    codes = zeros((count, spec.length), np.uint16)
    texts: dict[str, list[pa.Array]] = {"id": [], "caption": []}
    lists: list[pa.Array] = []
    start = 0
    for batch in batches:
        found = _checked(batch, spec, source)
        codes[start : start + len(found)] = found
        start += len(found)
        for name, pieces in texts.items():
            pieces.append(batch.column(name))
        if _ALL_CAPTIONS in schema.names:
            lists.append(batch.column(_ALL_CAPTIONS))
    columns = {name: pa.chunked_array(parts, pa.string()) for name, parts in texts.items()}
    ids, captions = StringColumn(columns["id"]), StringColumn(columns["caption"])
    return TokenSet(spec, ids, captions, codes, _caption_lists(lists, source) if lists else None)


def _caption_lists(lists: Sequence[Any], source: str) -> CaptionLists:
    if any(part.type != pa.list_(pa.string()) for part in lists):
        raise ValueError(
            f"{source}: {_ALL_CAPTIONS} are {lists[0].type}, not lists of text; {_FIX}"
        )
    lengths = pa.chunked_array([part.value_lengths() for part in lists])
    counts = pc.fill_null(lengths, 0).to_numpy()
    if not counts.all():
        raise ValueError(f"{source}: a picture has no caption in {_ALL_CAPTIONS}; {_FIX}")
    texts = pa.chunked_array([part.flatten() for part in lists], pa.string())
    return CaptionLists(StringColumn(texts), np.concatenate([[0], counts.cumsum(dtype=np.int64)]))


def _check_schema(schema: pa.Schema, spec: TokenSpec, *, source: str, tokenizer: str) -> None:
    if spec.fingerprint != tokenizer:
        raise ValueError(
            f"{source}: encoded by tokenizer {spec.fingerprint[:12]}, "
            f"not by {tokenizer[:12]}; {_FIX}"
        )
    if missing := {"id", "caption", "codes"} - set(schema.names):
        raise ValueError(f"{source}: no column {min(missing)!r}; {_FIX}")


def _checked(batch: pa.RecordBatch, spec: TokenSpec, source: str) -> np.ndarray:
    """Return the validated codes of a batch of rows, (M, N) uint16."""
    column = batch.column("codes")
    if column.type != pa.list_(pa.uint16(), spec.length) or column.null_count:
        raise ValueError(f"{source}: codes are {column.type}, not {spec.length} of uint16; {_FIX}")
    values = column.flatten().to_numpy().reshape(-1, spec.length)
    if values.size and values.max() >= spec.codebook_size:
        raise ValueError(
            f"{source}: code {values.max()} is outside the codebook of {spec.codebook_size}; {_FIX}"
        )
    return values


def _read_spec(schema: pa.Schema, source: str) -> TokenSpec:
    try:
        return TokenSpec(**json.loads((schema.metadata or {})[METADATA_KEY]))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{source}: no token spec in its schema; {_FIX}") from None
