"""Encode every image to codes with the trained tokenizer, in `data/tokens/`."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from stages import run
from vqpriors.core.artifact import new_file, new_folder, verify
from vqpriors.core.hardware import Precision, best_device, processes
from vqpriors.core.params import Params, Section
from vqpriors.core.runs import run_folder_of
from vqpriors.data.images import read_image_shard
from vqpriors.data.shards import SPLITS, count_rows, shard_paths
from vqpriors.data.tokens import TokenSpec, token_table
from vqpriors.tokenizer.base.coding import encode_pixels
from vqpriors.tokenizer.base.loading import load_tokenizer

IMAGES = Path("data/images")
TOKENS = Path("data/tokens")


class EncodeConfig(Section):
    """`encode` of params.yaml."""

    batch_size: int = Field(ge=1)
    precision: Precision


def main(params: Params) -> None:
    """Encode all splits, a shard of codes for each of pictures, shared out among the processes.

    A shard that is done is kept if the stage is killed, and not made again by its next run.
    """
    config = params.section("encode", EncodeConfig)
    place = processes()  # first: it chooses this process's GPU
    model, spec = load_tokenizer(Path("data/tokenizer"), best_device())
    verify(IMAGES)
    shards = [path for split in SPLITS for path in shard_paths(IMAGES, split)]
    with run_folder_of("encode", params) as folder:
        for shard in shards[place.process_index :: place.num_processes]:
            if not (folder / shard.name).exists():
                _encode(shard, folder / shard.name, model, spec, config)
        place.wait_for_everyone()
        if place.is_main_process:
            with new_folder(TOKENS) as target:
                for shard in shards:
                    shutil.copyfile(folder / shard.name, target / shard.name)
            _print(spec)


def _encode(source: Path, target: Path, model: Any, spec: TokenSpec, config: EncodeConfig) -> None:
    images = read_image_shard(source)
    settings = {"batch_size": config.batch_size, "precision": config.precision}
    codes = encode_pixels(model, images.pixels, **settings)
    table = token_table(spec, ids=images.ids, captions=images.captions, codes=codes)
    with new_file(target) as file:
        pq.write_table(table, file, compression="zstd")


def _print(spec: TokenSpec) -> None:
    counts = {split: count_rows(shard_paths(TOKENS, split)) for split in SPLITS}
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    print(f"{listed}; {spec.rows} x {spec.columns} codes each, of {spec.codebook_size}")


if __name__ == "__main__":
    run("encode", main)
