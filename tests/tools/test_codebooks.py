"""The committed comparison of codebooks and the tool that writes it."""

import math

from tools.codebooks import (
    BETWEEN_MARKERS,
    CODEBOOKS,
    PAGE,
    SETTINGS,
    SPLITS,
    merged,
    rows,
    table,
)
from tools.csv_rows import read_rows

PARAMS = {
    "data": {"name": "digits"},
    "tokenizer": {"quantizer": "fsq", "fsq": {"levels": [8, 8, 8]}, "ema": {"num_codes": 512}},
}
QUALITY = {"psnr": 20.123, "ssim": 0.5, "codebook_usage": 0.25, "codebook_perplexity": 1234.5}
METRICS = {"validation": QUALITY, "test": QUALITY | {"psnr": 21.0}, "train_minutes": 2.5}


def test_committed_table_matches_the_rows():
    assert BETWEEN_MARKERS.search(PAGE.read_text()).group() == table(read_rows(CODEBOOKS))


def test_committed_rows_have_known_settings_and_every_split():
    found = [(row["data"], row["changes"], row["split"]) for row in read_rows(CODEBOOKS)]
    assert {changes for _, changes, _ in found} <= {*SETTINGS.values()}
    runs = {(data, changes) for data, changes, _ in found}
    assert sorted(found) == sorted((*run, split) for run in runs for split in SPLITS)


def test_settings_have_the_sizes_of_their_names():
    for name, changes in SETTINGS.items():
        size = changes.split()[1].rpartition("=")[2]
        levels = [int(level) for level in size.strip("[]").split(",")]
        assert math.prod(levels) == int(name.split("-")[1]), name


def test_experiment_has_a_row_for_each_split():
    validation, test = rows(SETTINGS["fsq-512"], PARAMS, METRICS)
    assert (validation["split"], test["split"]) == SPLITS
    assert (validation["quantizer"], validation["codebook_size"]) == ("fsq", "512")
    assert (validation["psnr"], test["psnr"]) == ("20.12", "21.00")
    assert "| digits | `fsq` | 512 | 21.00 dB | 0.500 | 25.0% | 1,234 |" in table([test])


def test_table_without_rows_names_the_command():
    assert "`make codebooks`" in table([])


def test_new_rows_replace_rows_of_the_same_setting_and_data():
    old = rows(SETTINGS["fsq-512"], PARAMS, METRICS)
    mnist = [row | {"data": "mnist"} for row in old]
    first = rows(SETTINGS["ema-512"], PARAMS, METRICS)
    gone = [row | {"changes": "tokenizer.quantizer=gone"} for row in old]
    new = [row | {"psnr": "30.00"} for row in old]
    assert merged([*mnist, *old, *gone], [*new]) == [*new, *mnist]
    assert merged(old, first) == [*first, *old]
