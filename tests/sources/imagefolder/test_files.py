"""Which files of a folder are used, and the count of those that are not."""

import pytest
from PIL import Image

from tests.picture_folders import build, encoded, problem, records, write


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "validation") for name in ("val", "valid", "validation", "dev", "Val", "VALID")),
        *((name, "test") for name in ("test", "testing", "eval", "evaluation", "Test", "TESTING")),
    ],
)
def test_usual_names_of_folders_are_splits(tmp_path, name, split):
    write(tmp_path, dict.fromkeys(["Train/1.png", "Train/2.png", f"{name}/3.png"]))
    source = build(tmp_path)
    assert source.sizes == {"train": 2, split: 1}
    assert [r.id for r in records(source, split)] == [f"{name}/3.png"]
    assert source.notes == []


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "val_images", "test_images"),
        ("train2017", "val2017", "test2017"),
        ("my-training-set", "DEV set", "set.test"),
        ("train", "valid", "test_set"),
    ],
)
def test_names_with_a_word_for_a_split_are_splits_where_all_have_one(tmp_path, names):
    write(tmp_path, dict.fromkeys(f"{name}/1.png" for name in names))
    assert build(tmp_path).sizes == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("names", [["bullet train", "cat"], ["test tube", "dog"]])
def test_name_with_a_word_for_a_split_is_a_class_among_classes(tmp_path, names):
    write(tmp_path, dict.fromkeys(f"{name}/1.png" for name in names))
    assert sorted(r.label for r in records(build(tmp_path))) == sorted(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["car/1.png", "plane/1.png", "train/1.png"],
            "location: .: train/ is the folder of a split, but there are pictures in car/, plane/ "
            "beside it; rename train/ if it is a class, or move the others into it",
        ),
        (["Test/1.png", "final/1.png"], "location: .: Test/ is the folder of a split, but"),
        (["dev/1.png", "ops/2/1.png"], "location: .: dev/ is the folder of a split, but"),
        (
            ["train/1.png", "val/1.png", "valid/1.png"],
            "location: .: val/ and valid/ are both the validation split; join them",
        ),
        (["train/1.png", "Train/1.png"], "location: .: Train/ and train/ are both the train split"),
        (["train/1.png", "test tube/1.png", "cat/1.png"], "location: .: train/ is the folder of"),
        (
            ["train_images/1.png", "test_images/1.png", "more/1.png"],
            "location: .: test_images/, train_images/ may be splits or classes; name",
        ),
        (["set/train/1.png", "set/test/1.png"], "location: set: has the folders of splits test/,"),
        (["cat/train/1.png", "cat/val/1.png", "dog/train/1.png"], "location: cat: has the folders"),
        (
            ["images/Train/1.png", "images/Eval/1.png", "labels/Train/1.txt"],
            "location: images: has",
        ),
        (["train/a/test/1.png", "train/a/val/1.png"], "location: train/a: has the folders of"),
        (["train/1.png", "test/readme.md"], "location: no picture in test (used 1 of 2 files: "),
        (["1.heic", "2.HEIC", "3"], "location: no picture in . (used 0 of 3 files: 2 .heic, 1 "),
        ([], "location: no picture in .; add PNG or JPEG files"),
    ],
)
def test_folders_that_can_be_understood_in_two_ways_are_refused(tmp_path, names, expected):
    write(tmp_path, {name: None if name.endswith(".png") else "x" for name in names})
    assert problem(tmp_path).startswith(expected)


@pytest.mark.parametrize(
    "name",
    [
        *("metadata.json", "Metadata.csv", "metadata.txt", "METADATA.JSONL", "metadata.csv.txt"),
        *("metadata (1).csv", "metadata", "metadata.tsv", "metadata.xlsx", "metadata.parquet"),
        *("captions.jsonl", "Captions.txt", "image_captions.csv", "metdata.csv", "meta.json"),
        *("cat/metadata.json", "train_metadata.jsonl"),
    ],
)
def test_file_named_nearly_as_metadata_is_refused(tmp_path, name):
    write(tmp_path, {"cat/1.png": None, "dog/1.png": None, name: "x"})
    assert problem(tmp_path) == (
        f"location: {name}: not read; convert it to metadata.csv (with commas) or metadata.jsonl "
        "(a JSON object per line), or remove it"
    )


@pytest.mark.parametrize("name", ["labels.csv", "annotations.json", "list.txt", "data.tsv"])
def test_table_with_names_of_files_is_refused(tmp_path, name):
    write(tmp_path, {"1.png": None, name: '{"file_name": "1.png", "text": "cat"}'})
    assert problem(tmp_path).startswith(f"location: {name}: not read; convert it")


def test_metadata_beside_splits_is_refused_by_a_near_name(tmp_path):
    write(tmp_path, {"train/1.png": None, "test/1.png": None, "captions.csv": "x"})
    assert problem(tmp_path).startswith("location: captions.csv: not read")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.svg": "x", "b.SVG": "x"}, "used 2 of 4 files: 2 .svg of no supported ending"),
        ({"README.md": "x", "LICENSE": "x"}, "1 without ending, 1 .md of no supported ending"),
        (
            {f"a.{kind}": "x" for kind in ("aa", "bb", "cc", "dd", "ee", "ff", "gg")},
            "1 .aa, 1 .bb, 1 .cc, 1 .dd, 1 .ee and 2 more kinds of no supported ending",
        ),
        ({"labels.csv": "x"}, "1 labels.csv (read are only metadata.jsonl and metadata.csv)"),
        (
            {"cat/metadata.csv": "file_name,text\n1.png,x\n"},
            "used 1 of 2 files: 1 not in metadata.csv",
        ),
        (
            {"metadata.jsonl": [{"file_name": "cat/1.png", "text": "x"}], "cat/1.txt": "x"},
            "used 1 of 3 files: 1 .txt not used as captions, 1 not in metadata.jsonl",
        ),
        (
            {"metadata.csv": "file_name,text\ncat/1.png,x\n", "captions.jsonl": "x"},
            "1 captions.jsonl (read are only metadata.jsonl and metadata.csv), 1 not in",
        ),
        (
            {"cat/1.txt": "x", "cat/2.txt": "x"},
            "used 2 of 3 files: 1 .txt not beside a picture of the same name",
        ),
        ({"labels/1.txt": "x"}, "1 .txt not beside a picture of the same name"),
    ],
)
def test_unused_files_are_counted_by_reason(tmp_path, files, expected):
    write(tmp_path, {"cat/1.png": None, "dog/1.png": None} | files)
    assert expected in build(tmp_path, caption_column="text").notes[0]


def test_files_beside_splits_are_counted(tmp_path):
    names = ["train/1.png", "test/1.png", "car/1.png", "car/2.png", "plane/1.png", "3.png"]
    write(tmp_path, dict.fromkeys(names) | {"README.md": "x"})
    assert build(tmp_path).notes == [
        "used 2 of 7 files: 5 beside train/, test/ (3.png, README.md, car/, plane/)"
    ]


def test_broken_links_are_counted(tmp_path):
    write(tmp_path, {"a.png": None})
    (tmp_path / "b.png").symlink_to(tmp_path / "nothing.png")
    assert build(tmp_path).notes == ["used 1 of 2 files: 1 broken links"]


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", "Thumbs.db", "desktop.ini", "cat/._1.png", "cat/2.png~", ".cat/3.png"),
        *(".ipynb_checkpoints/1.png", "__MACOSX/cat/1.png", "cat/@eaDir/1.png", "cat/.1.txt"),
    ],
)
def test_hidden_files_and_those_of_editors_are_no_data(tmp_path, name):
    write(tmp_path, {"cat/1.png": None, "dog/1.png": None, name: encoded()})
    source = build(tmp_path, caption_column="text")
    assert [r.id for r in records(source)] == ["cat/1.png", "dog/1.png"]
    assert [r.label for r in records(source)] == ["cat", "dog"]
    assert source.notes == []


@pytest.mark.parametrize(
    ("ending", "form"),
    [
        *(("jfif", "JPEG"), ("jpe", "JPEG"), ("JPG", "JPEG"), ("apng", "PNG"), ("bmp", "BMP")),
        *(("gif", "GIF"), ("tif", "TIFF"), ("TIFF", "TIFF"), ("tga", "TGA"), ("ppm", "PPM")),
        *(("avif", "AVIF"), ("jp2", "JPEG2000"), ("ico", "ICO"), ("dib", "DIB"), ("pcx", "PCX")),
    ],
)
def test_every_ending_of_a_picture_is_used(tmp_path, ending, form):
    options = {"sizes": [(4, 4)]} if form == "ICO" else {}
    write(tmp_path, {f"a.{ending}": encoded(form=form, **options)})
    assert [r.id for r in records(build(tmp_path))] == [f"a.{ending}"]


def test_name_that_is_not_utf8_is_refused(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "caf\udce9.png")
    assert "is not UTF-8; rename it" in problem(tmp_path)
