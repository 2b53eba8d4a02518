import pyarrow as pa
import pytest

from vqpriors.data.shards import (
    count_rows,
    read_batches,
    read_schema,
    read_split,
    shard_paths,
    write_split,
)


def table(count):
    return pa.table({"n": list(range(count)), "s": [str(i) for i in range(count)]})


@pytest.mark.parametrize(("rows", "shards"), [(0, 1), (1, 1), (3, 1), (4, 2), (10, 4)])
def test_round_trip_keeps_rows_and_order(tmp_path, rows, shards):
    write_split(tmp_path, "train", table(rows), rows_per_shard=3)
    names = [f"train-{i:05d}-of-{shards:05d}.parquet" for i in range(shards)]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert read_split(tmp_path, "train").equals(table(rows))


def test_columns_can_be_chosen(tmp_path):
    write_split(tmp_path, "test", table(4), rows_per_shard=3)
    assert read_split(tmp_path, "test", columns=["s"]).equals(table(4).select(["s"]))


def test_splits_are_separate(tmp_path):
    write_split(tmp_path, "train", table(4), rows_per_shard=3)
    write_split(tmp_path, "test", table(2), rows_per_shard=3)
    assert read_split(tmp_path, "train").num_rows == 4


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_incomplete_shards_are_refused(tmp_path, missing):
    write_split(tmp_path, "train", table(7), rows_per_shard=3)
    (tmp_path / f"train-{missing:05d}-of-00003.parquet").unlink()
    with pytest.raises(ValueError, match="no complete set of 'train' shards; write it again"):
        read_split(tmp_path, "train")


def test_absent_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no complete set of 'validation' shards"):
        read_split(tmp_path, "validation")


def test_shards_of_two_sets_are_refused(tmp_path):
    write_split(tmp_path, "train", table(3), rows_per_shard=3)
    write_split(tmp_path, "train", table(6), rows_per_shard=3)
    with pytest.raises(ValueError, match="no complete set"):
        read_split(tmp_path, "train")


def test_file_that_is_not_parquet_is_named(tmp_path):
    write_split(tmp_path, "train", table(4), rows_per_shard=3)
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(b"PAR1 not really")
    problem = r"train-00001-of-00002.parquet: not readable as parquet \(.*\); restore it"
    with pytest.raises(ValueError, match=problem):
        read_split(tmp_path, "train")


def test_batches_keep_order_and_never_span_two_shards(tmp_path):
    write_split(tmp_path, "train", table(10), rows_per_shard=4)
    paths = shard_paths(tmp_path, "train")
    batches = list(read_batches(paths, rows=3))
    assert [batch.num_rows for batch in batches] == [3, 1, 3, 1, 2]
    assert pa.Table.from_batches(batches).equals(table(10))
    assert count_rows(paths) == 10
    assert read_schema(paths[0]).equals(table(10).schema)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: list(read_batches([path], rows=3)),
        lambda path: count_rows([path]),
        read_schema,
    ],
)
def test_every_reader_names_the_file_that_is_not_parquet(tmp_path, read):
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=r"00001.parquet: not readable as parquet \(.*\); restore"):
        read(path)
