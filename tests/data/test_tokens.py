import dataclasses
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqpriors.core.artifact import new_folder
from vqpriors.data.shards import write_split
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import parse_tokens, read_tokens, token_table

SPEC = TokenSpec(rows=2, columns=3, codebook_size=60000, fingerprint="f" * 64)
CODES = np.array([[0, 1, 2, 3, 4, 5], [59999, 32768, 40000, 7, 8, 9], [6, 6, 6, 6, 6, 6]])
IDS, CAPTIONS = ["a", "b", "c"], ["one", "", "drei 🦊"]


def table(spec=SPEC, codes=CODES):
    return token_table(spec, ids=IDS[: len(codes)], captions=CAPTIONS[: len(codes)], codes=codes)


def write(path, **tables):
    with new_folder(path) as folder:
        for split, part in tables.items():
            write_split(folder, split, part, rows_per_shard=2)
    return path


def test_round_trip_is_exact(tmp_path):
    folder = write(tmp_path / "tokens", train=table(), test=table(codes=CODES[:1]))
    found = read_tokens(folder, "train", tokenizer="f" * 64)
    assert (found.spec, [*found.ids], [*found.captions]) == (SPEC, IDS, CAPTIONS)
    assert found.codes.dtype == np.uint16
    assert (found.codes == CODES).all()
    assert len(read_tokens(folder, "test", tokenizer="f" * 64)) == 1


def test_codes_convert_to_a_tensor_without_a_warning(tmp_path):
    folder = write(tmp_path / "tokens", train=table())
    codes = read_tokens(folder, "train", tokenizer="f" * 64).codes
    assert torch.from_numpy(codes)[torch.tensor([1])].long().tolist() == [CODES[1].tolist()]


def test_file_has_fixed_size_lists_and_a_spec(tmp_path):
    folder = write(tmp_path / "tokens", train=table())
    schema = pq.read_schema(folder / "train-00001-of-00002.parquet")
    assert schema.names == ["id", "caption", "codes"]
    assert schema.field("codes").type == pa.list_(pa.uint16(), 6)
    spec = {"rows": 2, "columns": 3, "codebook_size": 60000, "fingerprint": "f" * 64}
    assert json.loads(schema.metadata[b"vqpriors"]) == spec


def test_empty_split_is_read(tmp_path):
    folder = write(tmp_path / "tokens", train=table(codes=np.zeros((0, 6), np.uint16)))
    assert read_tokens(folder, "train", tokenizer="f" * 64).codes.shape == (0, 6)


def test_tokens_of_another_tokenizer_are_refused(tmp_path):
    folder = write(tmp_path / "tokens", train=table())
    problem = "encoded by tokenizer ffffffffffff, not by eeeeeeeeeeee; encode the images"
    with pytest.raises(ValueError, match=problem):
        read_tokens(folder, "train", tokenizer="e" * 64)


@pytest.mark.parametrize(
    "changes",
    [{"fingerprint": "e" * 64}, {"codebook_size": 60001}, {"rows": 3, "columns": 2}],
)
@pytest.mark.parametrize("shard", [0, 1])
def test_shard_with_another_spec_is_refused(tmp_path, changes, shard):
    other = dataclasses.replace(SPEC, **changes)
    specs = [other, SPEC] if shard == 0 else [SPEC, other]
    with new_folder(tmp_path / "tokens") as folder:
        for i, spec in enumerate(specs):
            pq.write_table(table(spec), folder / f"train-{i:05d}-of-00002.parquet")
    problem = (
        r"train-00001-of-00002\.parquet: its grid, codebook or tokenizer differ from "
        r"train-00000-of-00002\.parquet; encode the images again with `dvc repro encode`$"
    )
    with pytest.raises(ValueError, match=problem):
        read_tokens(tmp_path / "tokens", "train", tokenizer="f" * 64)


def test_code_beyond_the_codebook_is_refused(tmp_path):
    folder = write(tmp_path / "tokens", train=table(TokenSpec(2, 3, 59999, "f" * 64)))
    with pytest.raises(ValueError, match="code 59999 is outside the codebook of 59999"):
        read_tokens(folder, "train", tokenizer="f" * 64)


def test_flipped_bit_is_refused(tmp_path):
    folder = write(tmp_path / "tokens", train=table())
    path = folder / "train-00000-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00000-of-00002.parquet: damaged"):
        read_tokens(folder, "train", tokenizer="f" * 64)


def parse(found):
    return parse_tokens(found, source="here", tokenizer="f" * 64)


def test_codes_of_another_shape_or_type_are_refused():
    for codes in (
        pa.array(CODES.tolist(), pa.list_(pa.uint16())),
        pa.array(CODES.tolist(), pa.list_(pa.int64(), 6)),
        pa.array(CODES[:, :5].tolist(), pa.list_(pa.uint16(), 5)),
        pa.array([None, *CODES[1:].tolist()], pa.list_(pa.uint16(), 6)),
    ):
        with pytest.raises(ValueError, match=r"here: codes are .*, not 6 of uint16; encode"):
            parse(table().set_column(2, "codes", codes))


@pytest.mark.parametrize("metadata", [None, {"vqpriors": "{"}, {"vqpriors": '{"rows": 1}'}])
def test_tokens_without_a_spec_are_refused(metadata):
    with pytest.raises(ValueError, match="here: no token spec in its schema"):
        parse(table().replace_schema_metadata(metadata))


LISTS = [["one", "uno"], [""], ["drei 🦊", "a", "b"]]


def test_several_captions_of_a_picture_make_the_round_trip(tmp_path):
    settings = {"ids": IDS, "captions": CAPTIONS, "codes": CODES}
    folder = write(tmp_path / "tokens", train=token_table(SPEC, **settings, all_captions=LISTS))
    found = read_tokens(folder, "train", tokenizer="f" * 64)
    assert [*found.captions] == CAPTIONS
    starts = found.all_captions.starts
    assert starts.tolist() == [0, 2, 3, 6]
    assert [[*found.all_captions.texts[a:b]] for a, b in pairwise(starts)] == LISTS
    assert (
        read_tokens(write(tmp_path / "b", train=table()), "train", tokenizer="f" * 64).all_captions
        is None
    )


@pytest.mark.parametrize("lists", [[["a"], [], ["b"]], [["a"], None, ["b"]]])
def test_picture_without_a_caption_in_its_list_is_refused(lists):
    damaged = token_table(SPEC, ids=IDS, captions=CAPTIONS, codes=CODES, all_captions=lists)
    expected = "^set: a picture has no caption in all_captions; encode the images again"
    with pytest.raises(ValueError, match=expected):
        parse_tokens(damaged, source="set", tokenizer="f" * 64)
