"""Several captions of a picture, and notes on what is used only in part."""

import io

import pytest
from PIL import Image

from tests.memory_source import DECODING, RECIPE, Memory, made, record
from vqpriors.core.artifact import new_folder
from vqpriors.core.params import check
from vqpriors.data import images
from vqpriors.data.shards import read_split
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, prepare


def several(count=20):
    """Records of which every second one has two more captions."""
    return [
        record(i, caption=f"{i}", other_captions=(f"{i}a", f"{i}b") if i % 2 else ())
        for i in range(count)
    ]


def test_random_keeps_all_captions_of_the_training_split(tmp_path):
    summary = made(tmp_path, several(), captions="random")
    part = images.read_images(tmp_path / "images", "train")
    for name, first, lists in zip(part.ids, part.captions, part.all_captions, strict=True):
        i = int(name.removeprefix("id-"))
        assert first == f"{i}"
        assert lists == [f"{i}", f"{i}a", f"{i}b"] if i % 2 else [f"{i}"]
    found = images.read_captions(tmp_path / "images", "train")
    assert found == [text for lists in part.all_captions for text in lists]
    for split in ("validation", "test"):
        part = images.read_images(tmp_path / "images", split)
        assert part.all_captions is None
        assert part.captions == [name.removeprefix("id-") for name in part.ids]
        assert images.read_captions(tmp_path / "images", split) == part.captions
    assert summary.notes == []


def test_first_keeps_one_caption_and_says_so(tmp_path):
    summary = made(tmp_path, several())
    assert read_split(tmp_path / "images", "train").schema.equals(images.SCHEMA)
    assert images.read_captions(tmp_path / "images", "train") == [
        name.removeprefix("id-") for name in images.read_images(tmp_path / "images", "train").ids
    ]
    assert summary.notes == [
        "10 with several captions, of which the first is used (data.x.captions)"
    ]
    assert str(summary).endswith(f"0 quarantined; {summary.notes[0]}")


def test_random_without_several_captions_says_so(tmp_path):
    summary = made(tmp_path, [record(i, caption="x") for i in range(20)], captions="random")
    assert summary.notes == ["no picture has several captions for data.x.captions: random"]
    assert read_split(tmp_path / "images", "train").schema.equals(images.SCHEMA)


def animation(form):
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (10, 200)]
    buffer = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_of_several_frames_is_used_and_counted(tmp_path, form):
    rows = [record(i, image=animation(form) if i < 3 else None) for i in range(20)]
    summary = made(tmp_path, rows)
    assert summary.notes == ["3 with several frames, of which the first is used"]
    for split in ("train", "validation", "test"):
        part = images.read_images(tmp_path / "images", split)
        for name, pixels in zip(part.ids, part.pixels, strict=True):
            if int(name.removeprefix("id-")) < 3:
                assert (pixels[0] == 10).all()


def test_source_split_that_is_not_used_is_noted(tmp_path):
    source = Memory([record(i) for i in range(20)])
    source.sizes = {"train": 20, "extra": 7, "test": 3}
    source.notes = ["used 5 of 6 files: 1 .md of no supported ending"]
    config = check("data.x", RECIPE, DatasetConfig)
    decoding = check("data.decoding", DECODING, DecodingConfig)
    with new_folder(tmp_path / "images") as folder:
        summary = prepare(source, config, decoding, param="data.x", seed=0, folder=folder)
    assert summary.notes == [
        "used 5 of 6 files: 1 .md of no supported ending",
        "split 'extra' (7 rows) is not used (data.x.splits)",
        "split 'test' (3 rows) is not used (data.x.splits)",
    ]


def test_rows_without_a_caption_are_counted_where_others_have_one(tmp_path):
    rows = [record(i, caption="x" if i < 15 else None) for i in range(20)]
    assert made(tmp_path, rows, caption=None).notes == ["5 without caption"]
    assert made(tmp_path / "b", [record(i) for i in range(20)], caption=None).notes == []
