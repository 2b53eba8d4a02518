"""Encode every image to codes with the trained tokenizer, in `data/tokens/`."""

from pathlib import Path

import pyarrow as pa
from pydantic import Field

from stages.command import run
from vqpriors import tokenizer
from vqpriors.hardware import Precision, best_device
from vqpriors.images import read_images
from vqpriors.params import Params, Section
from vqpriors.shards import SPLITS
from vqpriors.tokens import token_table, write_tokens


class EncodeConfig(Section):
    """`encode` of params.yaml."""

    batch_size: int = Field(ge=1)
    precision: Precision
    rows_per_shard: int = Field(ge=1)


def main(params: Params) -> None:
    """Encode all splits and write them as parquet shards."""
    config = params.section("encode", EncodeConfig)
    model, spec = tokenizer.load(Path("data/tokenizer"), best_device())

    def table(split: str) -> pa.Table:
        images = read_images(Path("data/images"), split)
        settings = {"batch_size": config.batch_size, "precision": config.precision}
        codes = tokenizer.encode_pixels(model, images.pixels, **settings)
        return token_table(spec, ids=images.ids, captions=images.captions, codes=codes)

    tables = {split: table(split) for split in SPLITS}
    write_tokens(Path("data/tokens"), tables, rows_per_shard=config.rows_per_shard)
    counts = ", ".join(f"{table.num_rows:,} {split}" for split, table in tables.items())
    print(f"{counts}; {spec.rows} x {spec.columns} codes each, of {spec.codebook_size}")


if __name__ == "__main__":
    run("encode", main)
