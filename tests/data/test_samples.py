import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data.test_tokens import CODES, SPEC
from vqpriors.data.samples import (
    Comparison,
    Prompt,
    SheetRow,
    WrittenCaption,
    choose_prompts,
    read_captions,
    read_comparisons,
    read_samples,
    read_sheets,
    write_samples,
)
from vqpriors.data.tokens import TokenSet

PROMPTS = [Prompt("a red one", ""), Prompt("", "id-7"), Prompt("a red one", "id-9")]


def pixels(channels):
    shape = (3, channels, 5, 4)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write(folder, channels=3, **extras):
    write_samples(folder, PROMPTS, pixels=pixels(channels), codes=CODES, spec=SPEC, **extras)
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_is_exact(tmp_path, channels):
    folder = write(tmp_path / "samples", channels)
    prompts, found, tokens = read_samples(folder, tokenizer=SPEC.fingerprint)
    assert prompts == PROMPTS
    assert (found == pixels(channels)).all()
    assert (tokens.codes == CODES).all()
    assert tokens.spec == SPEC


WRITTEN = [
    WrittenCaption("id-7", "a red one", "a red one"),
    WrittenCaption("id-9", "", 'a "blue"\tone, \u00e9'),
    WrittenCaption("id-1", "two", ""),
]


def test_written_captions_round_trip(tmp_path):
    folder = write(tmp_path / "samples", written=WRITTEN)
    assert read_captions(folder) == WRITTEN


@pytest.mark.parametrize("channels", [1, 3])
def test_comparisons_round_trip(tmp_path, channels):
    compared = [
        Comparison(8, PROMPTS, pixels(channels)),
        Comparison(1, PROMPTS[:2], 255 - pixels(channels)[:2]),
    ]
    found = read_comparisons(write(tmp_path / "samples", channels, compared=compared))
    assert len(found) == 2
    for part, expected in zip(found, compared, strict=True):
        assert part.steps == expected.steps
        assert part.prompts == expected.prompts
        assert (part.pixels == expected.pixels).all()


def test_rows_of_sheets_round_trip(tmp_path):
    rows = [
        SheetRow("samples", "temperature 0.7", "a red one", [0, 3], []),
        SheetRow("edits", "completion", "", [1, 2], [True, False]),
    ]
    assert read_sheets(write(tmp_path / "samples", sheets=rows)) == rows


def test_no_file_of_samples_holds_times(tmp_path):
    folder = write(tmp_path / "samples", compared=[Comparison(8, PROMPTS, pixels(3))])
    columns = {name for path in folder.glob("*.parquet") for name in pq.read_schema(path).names}
    assert columns == {
        *("id", "caption", "codes", "file", "written", "steps", "image"),
        *("sheet", "condition", "keep"),
    }


def test_samples_without_captions_and_comparisons_have_none(tmp_path):
    folder = write(tmp_path / "samples")
    assert read_captions(folder) == []
    assert read_comparisons(folder) == []


@pytest.mark.parametrize("read", [read_captions, read_comparisons])
def test_every_reader_detects_damage(tmp_path, read):
    folder = write(tmp_path / "samples", written=WRITTEN)
    path = folder / "captions.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"captions.parquet: damaged"):
        read(folder)


def test_each_picture_is_a_file(tmp_path):
    folder = write(tmp_path / "samples")
    names = [path.name for path in sorted((folder / "pictures").iterdir())]
    assert names == ["00000.png", "00001.png", "00002.png"]


def test_samples_of_another_tokenizer_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not by eeee"):
        read_samples(write(tmp_path / "samples"), tokenizer="e" * 64)


def test_changed_picture_is_refused(tmp_path):
    folder = write(tmp_path / "samples")
    picture = folder / "pictures" / "00001.png"
    picture.write_bytes(picture.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"00001.png: damaged"):
        read_samples(folder, tokenizer=SPEC.fingerprint)


def split_of_11():
    names = [str(i) for i in range(11)]
    return TokenSet(SPEC, names, [f"caption {i}" for i in names], np.zeros((11, 6), np.uint16))


def test_given_prompts_are_unchanged():
    found = choose_prompts(["x", "y", "x"], split_of_11(), limit=1)
    assert found == [Prompt("x", ""), Prompt("y", ""), Prompt("x", "")]


@pytest.mark.parametrize(
    ("limit", "rows"), [(1, [0]), (2, [0, 10]), (3, [0, 5, 10]), (6, [0, 2, 4, 6, 8, 10])]
)
def test_captions_of_the_test_split_are_spread_evenly(limit, rows):
    found = choose_prompts([], split_of_11(), limit=limit)
    assert found == [Prompt(f"caption {row}", str(row)) for row in rows]


def test_all_captions_are_taken_below_the_limit():
    assert [p.id for p in choose_prompts([], split_of_11(), limit=99)] == [
        str(i) for i in range(11)
    ]
