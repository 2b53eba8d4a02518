import json

import pytest
from PIL import Image

from vqpriors.core.params import check
from vqpriors.sources import imagefolder

VALUES = {
    "location": "",
    "caption_column": None,
    "label_column": None,
    "attribute_columns": [],
    "class_folders": "auto",
}


def paint(path, color="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), color).save(path)


def build(folder, **changes):
    values = VALUES | {"location": str(folder)} | changes
    config = check("data.x.imagefolder", values, imagefolder.Config)
    return imagefolder.build(config, seed=0, param="data.x.imagefolder")


def listed(source, split="train"):
    return list(source.records(split, range(source.sizes[split])))


def write_jsonl(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_plain_folder_is_one_split_without_labels(tmp_path):
    for name in ("b.png", "a.jpg", "c.webp", "D.PNG"):
        paint(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    source = build(tmp_path, caption_column="text")
    assert source.sizes == {"train": 4}
    assert [r.id for r in listed(source)] == ["D.PNG", "a.jpg", "b.png", "c.webp"]
    assert {(r.label, r.caption) for r in listed(source)} == {(None, None)}
    assert listed(source)[2].image == (tmp_path / "b.png").read_bytes()


def test_folder_names_are_labels(tmp_path):
    paint(tmp_path / "cat" / "1.png")
    paint(tmp_path / "dog" / "1.png")
    assert [(r.id, r.label) for r in listed(build(tmp_path))] == [
        ("cat/1.png", "cat"),
        ("dog/1.png", "dog"),
    ]


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_split_folders_are_splits(tmp_path, validation):
    for name in ("train/cat/1.png", "train/dog/1.png", f"{validation}/cat/2.png", "test/dog/3.png"):
        paint(tmp_path / name)
    source = build(tmp_path)
    assert source.sizes == {"train": 2, "validation": 1, "test": 1}
    assert listed(source, "validation")[0].id == f"{validation}/cat/2.png"
    assert listed(source, "test")[0].label == "dog"


def test_columns_of_jsonl_metadata_become_fields_of_records(tmp_path):
    paint(tmp_path / "a.png")
    paint(tmp_path / "sub" / "b.png")
    paint(tmp_path / "unlisted.png")
    write_jsonl(
        tmp_path,
        {"file_name": "sub/b.png", "text": "a bee", "kind": "insect", "legs": 6},
        {"file_name": "a.png", "text": "", "kind": None},
    )
    source = build(tmp_path, caption_column="text", label_column="kind", attribute_columns=["legs"])
    first, second = listed(source)
    assert (first.id, first.caption, first.label) == ("sub/b.png", "a bee", "insect")
    assert first.attributes == {"legs": "6"}
    assert (second.id, second.caption, second.label) == ("a.png", None, None)
    assert second.attributes == {}


def test_columns_of_csv_metadata_become_fields_of_records(tmp_path):
    paint(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "metadata.csv").write_text(
        '\ufefffile_name,text\na.png,"one, with a comma"\n', encoding="utf-8"
    )
    record = listed(build(tmp_path, caption_column="text"))[0]
    assert (record.id, record.caption) == ("train/a.png", "one, with a comma")


def test_folder_name_is_the_label_if_metadata_has_none(tmp_path):
    paint(tmp_path / "cat" / "a.png")
    write_jsonl(tmp_path, {"file_name": "cat/a.png", "text": "tom"})
    assert listed(build(tmp_path, caption_column="text"))[0].label == "cat"


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "sub/../../secret.png"])
def test_path_outside_the_folder_is_refused(tmp_path, name):
    paint(tmp_path / "secret.png")
    write_jsonl(tmp_path / "set", {"file_name": name})
    with pytest.raises(ValueError, match=r"metadata\.jsonl:1: .* lies outside "):
        build(tmp_path / "set")


@pytest.mark.parametrize("is_listed", [True, False])
def test_link_to_a_file_outside_the_folder_is_refused(tmp_path, is_listed):
    paint(tmp_path / "secret.png")
    paint(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "secret.png")
    if is_listed:
        write_jsonl(tmp_path / "set", {"file_name": "b.png"})
    with pytest.raises(ValueError, match="outside"):
        build(tmp_path / "set")


def test_missing_file_is_named(tmp_path):
    paint(tmp_path / "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png"}, {"file_name": "b.png"})
    with pytest.raises(ValueError, match=r"metadata\.jsonl:2: no file 'b\.png'"):
        build(tmp_path)


def test_duplicate_is_named(tmp_path):
    paint(tmp_path / "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png"}, {"file_name": "./a.png"})
    with pytest.raises(ValueError, match=r"metadata\.jsonl:2: '\./a\.png' is listed twice"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{not json}\n", r":1: not valid JSON"),
        ("\n[1]\n", r":2: not a JSON object"),
        ('{"name": "a.png"}\n', r":1: no file_name"),
    ],
)
def test_malformed_metadata_names_file_and_line(tmp_path, text, problem):
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"metadata\.jsonl" + problem):
        build(tmp_path)


def test_metadata_in_another_encoding_is_refused(tmp_path):
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_bytes("file_name,text\na.png,café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv: can't be read .*save it as UTF-8"):
        build(tmp_path)


def test_two_metadata_files_are_refused(tmp_path):
    paint(tmp_path / "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png"})
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    with pytest.raises(ValueError, match=r"has both metadata\.jsonl and metadata\.csv"):
        build(tmp_path)


def test_missing_column_names_its_param(tmp_path):
    paint(tmp_path / "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png", "text": "x"})
    expected = (
        r"^data\.x\.imagefolder\.label_column: no column 'kind'; choose one of file_name, text$"
    )
    with pytest.raises(ValueError, match=expected):
        build(tmp_path, label_column="kind")


def test_column_without_metadata_names_its_param(tmp_path):
    paint(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"^data\.x\.imagefolder\.attribute_columns: no metadata"):
        build(tmp_path, attribute_columns=["size"])


def test_missing_folder_names_its_param(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.x\.imagefolder\.location: no folder "):
        build(tmp_path / "nowhere")


def test_folder_without_pictures_names_its_param(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.x\.imagefolder\.location: no PNG, JPEG or WebP"):
        build(tmp_path)


def test_hash_depends_on_content_not_location(tmp_path):
    for name in ("one", "two", "three"):
        paint(tmp_path / name / "a.png", "blue" if name == "three" else "red")
    one, two, three = (build(tmp_path / name).provenance for name in ("one", "two", "three"))
    assert one == two
    assert one != three
