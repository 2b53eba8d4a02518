"""Pictures as codes: what a set of tokens says of itself, and its parquet shards."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vqpriors.artifact import new_folder, verify
from vqpriors.shards import read_split, write_split

METADATA_KEY = b"vqpriors"


@dataclass(frozen=True)
class TokenSpec:
    """What codes mean.

    Attributes:
        rows: Rows of the code grid.
        columns: Columns of the code grid.
        codebook_size: Number of codes K; codes are 0 to K - 1.
        fingerprint: Of the tokenizer that made them: 64 hex digits.
    """

    rows: int
    columns: int
    codebook_size: int
    fingerprint: str

    @property
    def length(self) -> int:
        """Number of tokens N of a picture, in raster order."""
        return self.rows * self.columns


@dataclass(frozen=True)
class TokenSet:
    """One split in memory.

    Attributes:
        spec: What the codes mean.
        ids: M picture ids.
        captions: M captions.
        codes: (M, N) uint16, raster order.
    """

    spec: TokenSpec
    ids: list[str]
    captions: list[str]
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def token_table(
    spec: TokenSpec, *, ids: Sequence[str], captions: Sequence[str], codes: np.ndarray
) -> pa.Table:
    """Make a table of tokens that carries its spec in the schema's metadata.

    Args:
        spec: What the codes mean.
        ids: M picture ids.
        captions: M captions.
        codes: (M, N) integers below the codebook size.
    """
    flat = pa.array(codes.astype(np.uint16).reshape(-1))
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "caption": pa.array(captions, pa.string()),
            "codes": pa.FixedSizeListArray.from_arrays(flat, spec.length),
        }
    )
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(asdict(spec))})


def write_tokens(path: Path, splits: dict[str, pa.Table], *, rows_per_shard: int) -> None:
    """Write a folder of token shards.

    Args:
        path: The folder to make or replace.
        splits: A `token_table` for each split.
        rows_per_shard: Rows in every shard but the last.
    """
    with new_folder(path) as folder:
        for split, table in splits.items():
            write_split(folder, split, table, rows_per_shard=rows_per_shard)


def read_tokens(folder: Path, split: str, *, tokenizer: str) -> TokenSet:
    """Read one split of tokens, if they are a given tokenizer's.

    Args:
        folder: What the encode stage made.
        split: "train", "validation" or "test".
        tokenizer: Fingerprint of the tokenizer that is to decode them.

    Raises:
        ValueError: If the folder is damaged, its rows have another shape than they say, a code lies
            outside the codebook, or another tokenizer made them.
    """
    verify(folder)
    return parse_tokens(read_split(folder, split), source=str(folder), tokenizer=tokenizer)


def parse_tokens(table: pa.Table, *, source: str, tokenizer: str) -> TokenSet:
    """Check a table of tokens and bring it into memory; as `read_tokens`."""
    fix = "encode the images again with `dvc repro encode`"
    spec = _read_spec(table, source)
    if spec.fingerprint != tokenizer:
        raise ValueError(
            f"{source}: its tokens are of tokenizer {spec.fingerprint[:12]}, "
            f"not of {tokenizer[:12]}; {fix}"
        )
    if missing := {"id", "caption", "codes"} - set(table.column_names):
        raise ValueError(f"{source}: no column {min(missing)!r}; {fix}")
    codes = table.column("codes").combine_chunks()
    if codes.type != pa.list_(pa.uint16(), spec.length) or codes.null_count:
        raise ValueError(f"{source}: codes are {codes.type}, not {spec.length} of uint16; {fix}")
    values = codes.flatten().to_numpy().reshape(-1, spec.length).copy()  # arrow's own is read-only
    if values.size and values.max() >= spec.codebook_size:
        raise ValueError(
            f"{source}: code {values.max()} is outside the codebook of {spec.codebook_size}; {fix}"
        )
    return TokenSet(
        spec, table.column("id").to_pylist(), table.column("caption").to_pylist(), values
    )


def _read_spec(table: pa.Table, source: str) -> TokenSpec:
    try:
        return TokenSpec(**json.loads((table.schema.metadata or {})[METADATA_KEY]))
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f"{source}: no token spec in its schema; make it again with `dvc repro encode`"
        ) from None
