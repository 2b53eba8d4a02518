"""Classes that subfolders name."""

import pytest

from tests.picture_folders import build, problem, records, write

STORAGE = {"images/1.png": None, "images/2.png": None}


def labels(folder, **changes):
    return [r.label for r in records(build(folder, **changes))]


@pytest.mark.parametrize("root", ["", "train/"])
def test_subfolders_are_classes(tmp_path, root):
    write(tmp_path, dict.fromkeys([f"{root}cat/1.png", f"{root}dog/1.png", f"{root}2.png"]))
    assert labels(tmp_path) == [None, "cat", "dog"]


@pytest.mark.parametrize(
    "files",
    [
        STORAGE | {"metadata.csv": "file_name,text\nimages/1.png,x\nimages/2.png,y\n"},
        STORAGE | {"images/metadata.jsonl": [{"file_name": "1.png"}, {"file_name": "2.png"}]},
        STORAGE | {"images/1.txt": "x", "images/2.txt": "y"},
        {"000/1.png": None, "001/2.png": None, "000/1.txt": "x"},
        STORAGE,
        {"train/images/1.png": None, "train/images/2.png": None, "test/images/3.png": None},
        {"train/images/1.png": None, "train/images/2.png": None, "test/imgs/3.png": None},
    ],
)
def test_folder_that_only_stores_pictures_is_no_class(tmp_path, files):
    column = None if any(name.endswith("jsonl") for name in files) else "text"
    write(tmp_path, files)
    assert labels(tmp_path, caption_column=column) == [None, None]


@pytest.mark.parametrize(
    ("files", "note"),
    [
        (STORAGE, "images/ is no class, since no folder is beside it"),
        (
            {"cat/1.png": None, "dog/1.png": None, "cat/1.txt": "x"},
            "cat and 1 more subfolders are no classes, since captions or metadata are given",
        ),
    ],
)
def test_note_says_which_folders_are_no_classes(tmp_path, files, note):
    write(tmp_path, files)
    assert f"{note} (data.x.imagefolder.class_folders)" in build(tmp_path, caption_column="t").notes


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("outer", ["cat", "dog"]), ("inner", ["tabby", "dog"]), ("none", [None, None])],
)
def test_choice_takes_one_folder_of_several(tmp_path, choice, expected):
    write(tmp_path, {"cat/tabby/1.png": None, "dog/1.png": None})
    assert labels(tmp_path, class_folders=choice) == expected


def test_choice_names_classes_also_with_metadata(tmp_path):
    table = "file_name,kind\ncat/1.png,\ndog/1.png,wolf\n"
    write(tmp_path, {"cat/1.png": None, "dog/1.png": None, "metadata.csv": table})
    found = labels(tmp_path, class_folders="outer", label_column="kind")
    assert found == ["cat", "wolf"]


def test_nested_folders_need_a_choice(tmp_path):
    write(tmp_path, {"cat/tabby/1.png": None, "dog/1.png": None})
    assert problem(tmp_path) == (
        "class_folders: cat/tabby/1.png lies in nested subfolders, so its class is not clear; "
        "choose outer (the first folder), inner (its own) or none"
    )


def test_choice_without_subfolders_is_refused(tmp_path):
    write(tmp_path, {"1.png": None})
    assert problem(tmp_path, class_folders="outer").startswith("class_folders: no picture lies in")
