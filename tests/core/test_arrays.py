import errno
import os

import numpy as np
import pyarrow as pa
import pytest
import torch

from vqpriors.core import arrays
from vqpriors.core.arrays import StringColumn, zeros


@pytest.mark.parametrize("limit", [0, 2**28])
def test_array_starts_at_zero_and_can_be_written(monkeypatch, limit):
    monkeypatch.setattr(arrays, "LARGE", limit)
    made = zeros((5, 3), np.uint16)
    assert (made.shape, made.dtype, made.sum()) == ((5, 3), np.uint16, 0)
    made[1:3] = 65535
    assert made.astype(int).sum() == 6 * 65535
    assert torch.from_numpy(made)[torch.tensor([1, 4])].long().tolist() == [[65535] * 3, [0] * 3]
    assert isinstance(made, np.memmap) == (limit == 0)


def test_large_array_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    made = zeros((1000,), np.int64)
    assert list(tmp_path.iterdir()) == []
    made[:] = 7
    assert made.sum() == 7000


def test_full_disk_raises_on_creation_of_a_large_array(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        zeros((1000,), np.int64)


@pytest.mark.parametrize(
    "pieces", [[["b", "a", "", "b"]], [["b"], ["a", ""], [], ["b"]], [["b", "a"], ["", "b"]]]
)
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_string_column_is_a_sequence(pieces, is_dictionary):
    column = pa.chunked_array(pieces, pa.string())
    found = StringColumn(column.dictionary_encode() if is_dictionary else column)
    assert list(found) == ["b", "a", "", "b"]
    assert (found[0], found[3], found[-2], found[1:3]) == ("b", "b", "", ["a", ""])
    assert found.distinct.to_pylist() == ["", "b", "a"]
    assert found.rows.tolist() == [1, 2, 0, 1]


def test_distinct_strings_always_start_with_the_empty_one():
    found = StringColumn(pa.chunked_array([["x", "x"]], pa.string()))
    assert found.distinct.to_pylist() == ["", "x"]
    assert found.rows.tolist() == [1, 1]


def test_column_without_rows_is_empty():
    found = StringColumn(pa.chunked_array([], pa.string()))
    assert len(found) == 0
    assert list(found) == found[:] == []
