"""Memory of a process that trains on many token rows: `python -m benchmarks.memory`.

For each number of rows, a new process reads a split of tokens like the training stage and takes
batches in training order. Anonymous memory is reported separately from mapped pages of files, which
the system can drop at any time. Linux only.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from vqpriors.core.artifact import new_folder
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import read_tokens, token_table
from vqpriors.priors.base.examples import token_examples
from vqpriors.text import wordpiece
from vqpriors.training.shuffling import epoch_order, seed_step

ROWS = (10_000, 100_000, 1_000_000)
SPEC = TokenSpec(rows=32, columns=32, codebook_size=4096, fingerprint="0" * 64)
SHARD = 10_000
BATCHES, BATCH = 200, 32


def main() -> None:
    """Write tokens and measure a process for each number of rows; print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="default: %(default)s")
    parser.add_argument(
        "--distinct", action="store_true", help="use a different caption for each row"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokens"
            write(path, rows, is_distinct=options.distinct)
            command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(json.dumps({"rows": rows} | json.loads(done.stdout)), flush=True)


def write(path: Path, rows: int, *, is_distinct: bool) -> None:
    """Write random tokens in the format of the encode stage."""
    generator = np.random.default_rng(0)
    with new_folder(path) as folder:
        for start in range(0, rows, SHARD):
            names = range(start, min(start + SHARD, rows))
            captions = [f"picture {i}" if is_distinct else f"a digit {i % 10}" for i in names]
            codes = generator.integers(0, SPEC.codebook_size, (len(captions), SPEC.length))
            ids = [f"train-{i:09d}" for i in names]
            table = token_table(SPEC, ids=ids, captions=captions, codes=codes)
            shards = -(-rows // SHARD)
            name = f"train-{start // SHARD:05d}-of-{shards:05d}.parquet"
            pq.write_table(table, folder / name)


def measure(path: Path) -> dict[str, float]:
    """Load tokens and take batches.

    Returns:
        Memory before and at the end, in MB, the seconds between, and a checksum.
    """
    before, began = megabytes("RssAnon"), time.perf_counter()
    tokens = read_tokens(path, "train", tokenizer=SPEC.fingerprint)
    config = wordpiece.Config(vocabulary=1000, max_length=16)
    encoder = wordpiece.build(config, captions=tokens.captions[:1000])
    examples = token_examples(
        tokens.codes, tokens.captions, encode=encoder.encode, dropout=0.1, num_draws=8
    )
    order = epoch_order(len(examples), seed=0, epoch=0)
    total = 0
    for step in range(BATCHES):
        rows = order[step * BATCH % len(order) :][:BATCH]
        total += int(examples.batch(rows, seed_step(seed=0, step=step, rank=0))["codes"].sum())
    return {
        "imports_mb": before,
        "held_mb": megabytes("RssAnon"),
        "mapped_mb": megabytes("RssFile"),
        "codes_mb": round(tokens.codes.nbytes / 1e6),
        "seconds": round(time.perf_counter() - began, 3),
        "checksum": total,
    }


def megabytes(name: str) -> int:
    """Return a memory counter of this process from /proc/self/status, in MB."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return round(int(found[1]) * 1024 / 1e6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
