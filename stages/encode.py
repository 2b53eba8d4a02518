"""Encode every image to codes with the trained tokenizer, in `data/tokens/`."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from stages import run
from vqpriors.core.artifact import new_file, new_folder, verify
from vqpriors.core.compiler import avx512_problem, compiling
from vqpriors.core.hardware import Precision, best_device, processes
from vqpriors.core.params import Params, Section
from vqpriors.core.runs import run_folder_of
from vqpriors.data.images import read_image_shard
from vqpriors.data.shards import SPLITS, count_rows, shard_paths
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import token_table
from vqpriors.tokenizer.base.coding import encode_pixels
from vqpriors.tokenizer.base.loading import load_tokenizer

IMAGES = Path("data/images")
TOKENS = Path("data/tokens")


class EncodeConfig(Section):
    """`encode` of params.yaml."""

    batch_size: int = Field(ge=1)
    precision: Precision
    compile: bool


def main(params: Params) -> None:
    """Encode all splits, one shard of codes per shard of pictures, divided among the processes.

    If the stage is killed, its next run reuses the finished shards.
    """
    config = params.section("encode", EncodeConfig)
    state = processes()  # must come first: selects this process's GPU
    model, spec = load_tokenizer(Path("data/tokenizer"), best_device())
    if config.compile and (reason := avx512_problem(best_device())):
        print(f"encode.compile: changes nothing: {reason}", file=sys.stderr)
    verify(IMAGES)
    shards = [path for split in SPLITS for path in shard_paths(IMAGES, split)]
    with run_folder_of("encode", params) as folder:
        for shard in shards[state.process_index :: state.num_processes]:
            if not (folder / shard.name).exists():
                _encode(shard, folder / shard.name, model, spec, config)
        state.wait_for_everyone()
        if state.is_main_process:
            with new_folder(TOKENS) as target:
                for shard in shards:
                    shutil.copyfile(folder / shard.name, target / shard.name)
            _print_summary(spec)


def _encode(source: Path, target: Path, model: Any, spec: TokenSpec, config: EncodeConfig) -> None:
    images = read_image_shard(source)
    settings = {"batch_size": config.batch_size, "precision": config.precision}
    with compiling(config.compile):
        codes = encode_pixels(model, images.pixels, **settings)
    table = token_table(
        spec,
        ids=images.ids,
        captions=images.captions,
        codes=codes,
        all_captions=images.all_captions,
    )
    with new_file(target) as file:
        pq.write_table(table, file, compression="zstd")


def _print_summary(spec: TokenSpec) -> None:
    counts = {split: count_rows(shard_paths(TOKENS, split)) for split in SPLITS}
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    print(f"{listed}; {spec.rows} x {spec.columns} codes each, of {spec.codebook_size}")


if __name__ == "__main__":
    run("encode", main)
