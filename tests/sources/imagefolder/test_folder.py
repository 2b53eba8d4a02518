"""Records of a folder's pictures."""

import pytest

from tests.picture_folders import build, encoded, problem, records, write


def test_plain_folder_is_one_split_without_labels(tmp_path):
    names = ["D.PNG", "a.jpg", "b.png", "c.webp"]
    write(tmp_path, dict.fromkeys(names))
    source = build(tmp_path, caption_column="text")
    assert source.sizes == {"train": 4}
    assert [r.id for r in records(source)] == names
    assert {(r.label, r.caption) for r in records(source)} == {(None, None)}
    assert records(source)[2].image == (tmp_path / "b.png").read_bytes()
    assert source.notes == []


def test_columns_of_jsonl_metadata_become_fields_of_records(tmp_path):
    rows = [
        {"file_name": "sub/b.png", "text": "a bee", "kind": "insect", "legs": 6},
        {"file_name": "a.png", "text": "", "kind": None},
    ]
    write(tmp_path, {"a.png": None, "sub/b.png": None, "metadata.jsonl": rows})
    source = build(tmp_path, caption_column="text", label_column="kind", attribute_columns=["legs"])
    first, second = records(source)
    assert (first.id, first.caption, first.label) == ("sub/b.png", "a bee", "insect")
    assert first.attributes == {"label": "insect", "legs": "6"}
    assert (second.id, second.caption, second.label) == ("a.png", None, None)
    assert second.attributes == {}


def test_metadata_of_each_folder_describes_its_pictures(tmp_path):
    write(
        tmp_path,
        {
            "train/x/1.png": None,
            "train/y/2.png": None,
            "test/3.png": None,
            "train/x/metadata.jsonl": [{"file_name": "1.png", "text": "one"}],
            "train/y/metadata.csv": "file_name,text\n2.png,two\n",
            "test/metadata.csv": "file_name,text\n3.png,three\n",
        },
    )
    source = build(tmp_path, caption_column="text")
    assert [r.caption for r in records(source)] == ["one", "two"]
    assert [r.caption for r in records(source, "test")] == ["three"]


def test_metadata_at_the_top_describes_all_splits(tmp_path):
    table = "file_name,text\ntest/2.png,two\ntrain/1.png,one\n"
    write(tmp_path, {"train/1.png": None, "test/2.png": None, "metadata.csv": table})
    source = build(tmp_path, caption_column="text")
    assert [r.caption for split in ("train", "test") for r in records(source, split)] == [
        "one",
        "two",
    ]


def test_lines_of_a_txt_file_are_captions_of_the_picture_of_its_name(tmp_path):
    files = {"a.txt": "a cat\n\n a tom \n", "b.txt": " \n", "sub/a.txt": "a dog"}
    write(tmp_path, dict.fromkeys(["a.png", "b.png", "c.png", "sub/a.jpg"]) | files)
    found = [
        (r.id, r.caption, r.other_captions) for r in records(build(tmp_path, caption_column="t"))
    ]
    assert found == [
        ("a.png", "a cat", ("a tom",)),
        ("b.png", None, ()),
        ("c.png", None, ()),
        ("sub/a.jpg", "a dog", ()),
    ]
    assert {r.caption for r in records(build(tmp_path))} == {None}


def test_missing_file_is_a_bad_row(tmp_path):
    rows = [{"file_name": "a.png"}, {"file_name": "b.png"}]
    write(tmp_path, {"a.png": None, "metadata.jsonl": rows})
    first, second = records(build(tmp_path))
    assert (first.problem, second.image) == (None, None)
    assert second.problem == "no file 'b.png', listed in metadata.jsonl:2"
    assert len(build(tmp_path).provenance["sha256"]) == 64


def test_caption_files_have_any_usual_ending(tmp_path):
    files = {"a.caption": "one", "b.TXT": "two", "c.txt": "three", "c.caption": "3"}
    write(tmp_path, dict.fromkeys(["a.png", "b.png", "c.png"]) | files)
    source = build(tmp_path, caption_column="text")
    assert [r.caption for r in records(source)] == ["one", "two", "three"]
    assert source.notes == ["used 3 of 4 files: 1 .caption not used as captions"]


def test_backslash_in_a_path_is_explained(tmp_path):
    write(tmp_path, {"x/a.png": None, "metadata.csv": "file_name\nx\\a.png\n"})
    assert records(build(tmp_path))[0].problem.endswith("metadata.csv:2; write / between folders")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "sub/../../secret.png"])
def test_path_outside_the_folder_is_refused(tmp_path, name):
    write(tmp_path, {"secret.png": None, "set/metadata.jsonl": [{"file_name": name}]})
    found = problem(tmp_path / "set")
    assert found.startswith(f"location: metadata.jsonl:1: {name!r} lies outside ")


@pytest.mark.parametrize("name", ["{}/test/2.png", "../test/2.png"])
def test_picture_of_another_split_is_refused(tmp_path, name):
    row = {"file_name": name.format(tmp_path)}
    write(tmp_path, dict.fromkeys(["train/1.png", "test/2.png"]) | {"train/metadata.jsonl": [row]})
    assert " lies outside train; move it there" in problem(tmp_path)


@pytest.mark.parametrize("is_listed", [True, False])
def test_link_to_a_file_outside_the_folder_is_refused(tmp_path, is_listed):
    write(tmp_path, {"secret.png": None, "set/a.png": None})
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "secret.png")
    if is_listed:
        write(tmp_path / "set", {"metadata.jsonl": [{"file_name": "b.png"}]})
    assert problem(tmp_path / "set").startswith("location: b.png: links to a file outside")


@pytest.mark.parametrize("is_inside", [True, False])
def test_link_to_a_folder_is_refused(tmp_path, is_inside):
    write(tmp_path, {"set/cat/a.png": None, "dog/a.png": None})
    target = tmp_path / "set/cat" if is_inside else tmp_path / "dog"
    (tmp_path / "set/dog").symlink_to(target, target_is_directory=True)
    assert problem(tmp_path / "set").startswith("location: dog: links to a folder")


@pytest.mark.parametrize("place", ["", "cat/"])
def test_two_metadata_files_are_refused(tmp_path, place):
    rows = [{"file_name": "a.png"}]
    files = {"metadata.jsonl": rows, "metadata.csv": "file_name\na.png\n", "a.png": None}
    write(tmp_path, {f"{place}{name}": content for name, content in files.items()})
    assert "has both metadata.jsonl and metadata.csv; remove one" in problem(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"metadata.jsonl": [{"file_name": "a.png", "text": "x"}]},
        {"metadata.csv": "file_name,text\na.png,x\n"},
    ],
)
def test_missing_column_names_its_param_and_the_columns(tmp_path, files):
    write(tmp_path, {"a.png": None} | files)
    for key, value in (("label_column", "kind"), ("attribute_columns", ["kind"])):
        expected = f"{key}: no column 'kind' in {next(iter(files))}; choose one of file_name, text"
        assert problem(tmp_path, **{key: value}) == expected


def test_column_of_one_split_only_is_refused(tmp_path):
    tables = {"train/metadata.csv": "file_name,text\na.png,x\n"}
    tables["test/metadata.csv"] = "file_name,caption\na.png,x\n"
    write(tmp_path, dict.fromkeys(["train/a.png", "test/a.png"]) | tables)
    expected = "caption_column: no column 'text' in test/metadata.csv; choose one of file_name, "
    assert problem(tmp_path, caption_column="text").startswith(expected)


def test_column_without_metadata_names_its_param(tmp_path):
    write(tmp_path, {"a.png": None})
    for key, value in (("label_column", "kind"), ("attribute_columns", ["kind"])):
        expected = f"{key}: no metadata.jsonl or metadata.csv with a column 'kind'"
        assert problem(tmp_path, **{key: value}) == expected


def test_missing_folder_names_its_param(tmp_path):
    assert problem(tmp_path / "nowhere").startswith("location: no folder ")


@pytest.mark.parametrize("name", ["set: 1", "set (1)", "my set; old", "a.b:c/d"])
def test_error_in_a_folder_of_any_name_is_one_explained_line(tmp_path, name):
    write(tmp_path / name, {"a.png": None, "metadata.csv": "file_name,text\na.png,x,y\n"})
    assert problem(tmp_path / name).startswith("location: metadata.csv:2: fields: 3, columns: 2")


def test_hash_depends_on_content_not_location(tmp_path):
    for name in ("one", "two", "three"):
        write(tmp_path / name, {"a.png": encoded("blue" if name == "three" else "red")})
    one, two, three = (build(tmp_path / name).provenance for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("a.txt", ("a cat", "a dog")),
        ("metadata.csv", ("file_name,text\na.png,a cat\n", "file_name,text\na.png,a dog\n")),
    ],
)
def test_hash_depends_on_captions(tmp_path, name, texts):
    hashes = set()
    for text in texts:
        write(tmp_path, {"a.png": None, name: text})
        hashes.add(build(tmp_path, caption_column="text").provenance["sha256"])
    assert len(hashes) == 2
