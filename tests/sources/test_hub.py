import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vqpriors.core.params import check
from vqpriors.sources import hub

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY.parent / "shared" / "datasets"
VALUES = {
    "location": "",
    "revision": "main",
    "config": None,
    "image_column": "image",
    "caption_column": None,
    "label_column": None,
    "attribute_columns": [],
}


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(folder, images, split="train", **columns):
    """Write a split as `push_to_hub` lays it out; `columns` are (feature, values)."""
    import datasets

    features = {"image": datasets.Image()} | {name: kind for name, (kind, _) in columns.items()}
    rows = {"image": images} | {name: values for name, (_, values) in columns.items()}
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def folder(tmp_path):
    import datasets

    path = tmp_path / "set"
    for split, count in (("train", 5), ("test", 2)):
        write(
            path,
            [{"bytes": png(i), "path": None} for i in range(count)],
            split,
            label=(datasets.ClassLabel(names=["cat", "dog"]), [0, 1, -1, 0, None][:count]),
            text=(datasets.Value("string"), ["one", None, "three", "four", "five"][:count]),
            legs=(datasets.Value("int64"), [4, 2, 0, 6, 8][:count]),
            boxes=(datasets.List(datasets.Value("int64")), [[1]] * count),
        )
    return path


def build(folder, **changes):
    config = check("data.x.hub", VALUES | {"location": str(folder)} | changes, hub.Config)
    return hub.build(config, seed=0, param="data.x.hub")


def test_labels_are_class_names(folder):
    source = build(folder, caption_column="text", label_column="label", attribute_columns=["legs"])
    assert source.sizes == {"train": 5, "test": 2}
    rows = list(source.records("train", range(5)))
    assert [row.image for row in rows] == [png(i) for i in range(5)]
    assert [row.label for row in rows] == ["cat", "dog", None, "cat", None]
    assert [row.caption for row in rows] == ["one", None, "three", "four", "five"]
    assert [row.attributes for row in rows] == [
        {"label": "cat", "legs": "4"},
        {"label": "dog", "legs": "2"},
        {"legs": "0"},
        {"label": "cat", "legs": "6"},
        {"legs": "8"},
    ]
    assert not any(
        row.attributes for row in build(folder, label_column="label").records("test", [0])
    )


def test_picture_files_beside_a_table_are_bad_rows_with_the_fix(tmp_path):
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "set/train/0.png").write_bytes(png(0))
    (tmp_path / "set/train/metadata.jsonl").write_text('{"file_name": "0.png", "text": "a"}\n')
    (row,) = build(tmp_path / "set", caption_column="text").records("train", [0])
    assert row.caption == "a"
    assert row.image is None
    assert row.problem.endswith("for a folder of picture files use data.folder")


@pytest.mark.parametrize("name", ["p [1]", "a*", "b?"])
def test_folder_with_characters_of_patterns_is_refused(tmp_path, name):
    write(tmp_path / name, [{"bytes": png(0), "path": None}])
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.location: .* rename the folder$"):
        build(tmp_path / name)


def one_column(path, feature, values):
    write(path, [{"bytes": png(0), "path": None}] * len(values), value=(feature, values))
    return path


def test_list_of_captions_is_kept_in_order(tmp_path):
    import datasets

    texts = [["a", " ", "b"], [], None]
    folder = one_column(tmp_path / "set", datasets.List(datasets.Value("string")), texts)
    rows = list(build(folder, caption_column="value").records("train", range(3)))
    assert [(row.caption, row.other_captions) for row in rows] == [
        ("a", ("b",)),
        (None, ()),
        (None, ()),
    ]
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.label_column: .*has type List"):
        build(folder, label_column="value")


def test_nan_and_blanks_are_none_and_whole_numbers_have_no_decimals(tmp_path):
    import datasets

    numbers = [1.0, 2.5, float("nan"), None]
    folder = one_column(tmp_path / "set", datasets.Value("float64"), numbers)
    found = build(folder, label_column="value").records("train", range(4))
    assert [row.label for row in found] == ["1", "2.5", None, None]
    folder = one_column(tmp_path / "b", datasets.Value("string"), ["a", "  ", "", "\n"])
    found = build(folder, caption_column="value").records("train", range(4))
    assert [row.caption for row in found] == ["a", None, None, None]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bool", True), ("binary", b"a"), ("timestamp[s]", 0)],
)
@pytest.mark.parametrize("key", ["caption_column", "label_column", "attribute_columns"])
def test_columns_that_are_no_text_are_refused(tmp_path, kind, value, key):
    import datasets

    folder = one_column(tmp_path / "set", datasets.Value(kind), [value])
    with pytest.raises(ValueError, match=rf"^data\.x\.hub\.{key}: column 'value' has type Value"):
        build(folder, **{key: ["value"] if key == "attribute_columns" else "value"})


def test_list_as_text_names_its_row(tmp_path):
    import datasets

    folder = one_column(tmp_path / "set", datasets.Value("string"), ["a", "['b', 'c']"])
    expected = r"^data\.x\.hub\.caption_column: row train-0000001, column 'value': .* is a list or"
    with pytest.raises(ValueError, match=expected):
        list(build(folder, caption_column="value").records("train", range(2)))


def parquet(folder, table):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "train-00000-of-00001.parquet")


def lines(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{row}\n" for row in rows))


def arrow(folder, name, table, writer):
    folder.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / name), "wb") as file, writer(file, table.schema) as out:
        out.write_table(table)


def cells(**fields):
    """A column of structs: a picture, a path alone, and nothing."""
    values = {"bytes": png(1), "path": "a.png"}
    given = {name: values.get(name) for name, kind in fields.items() if kind != pa.null()}
    rows = [given, given | {"bytes": None}, None]
    return pa.table({"image": pa.array(rows, pa.struct(list(fields.items())))})


def plain(kind):
    return pa.table({"image": pa.array([png(1), None, None], kind)})


def saved(folder, *, is_dict):
    import datasets

    rows = [{"bytes": png(1), "path": None}, None, None]
    data = datasets.Dataset.from_dict(
        {"image": rows}, features=datasets.Features({"image": datasets.Image()})
    )
    (datasets.DatasetDict({"train": data}) if is_dict else data).save_to_disk(folder)


STRUCT = {"bytes": pa.binary(), "path": pa.string()}
CODED = base64.b64encode(png(1)).decode()
LAYOUTS = {  # writers of three rows: a picture, and two without bytes
    "struct": lambda path: parquet(path, cells(**STRUCT)),
    "struct, path first": lambda path: parquet(path, cells(path=pa.string(), bytes=pa.binary())),
    "struct of large values": lambda path: parquet(
        path, cells(bytes=pa.large_binary(), path=pa.large_string())
    ),
    "struct without a path": lambda path: parquet(path, cells(bytes=pa.binary())),
    "struct with paths of null": lambda path: parquet(
        path, cells(bytes=pa.binary(), path=pa.null())
    ),
    "struct with other fields": lambda path: parquet(path, cells(width=pa.int64(), **STRUCT)),
    "binary": lambda path: parquet(path, plain(pa.binary())),
    "large binary": lambda path: parquet(path, plain(pa.large_binary())),
    "arrow stream": lambda path: arrow(path, "train.arrow", cells(**STRUCT), pa.ipc.new_stream),
    "arrow file": lambda path: arrow(path, "train.arrow", plain(pa.binary()), pa.ipc.new_file),
    "JSON lines": lambda path: lines(
        path, "train.jsonl", [json.dumps({"image": text}) for text in (CODED, None, "a.png")]
    ),
    "JSON of structs": lambda path: lines(
        path,
        "train.json",
        [json.dumps({"image": {"bytes": text, "path": "a.png"}}) for text in (CODED, None, "")],
    ),
    "CSV": lambda path: lines(
        path, "train.csv", ["image,n", f'"data:image/png;base64,{CODED}",1', ",2", "a.png,3"]
    ),
    "saved to disk": lambda path: saved(path, is_dict=False),
    "dict saved to disk": lambda path: saved(path, is_dict=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_of_every_layout_are_read(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "set")
    source = build(tmp_path / "set")
    assert source.sizes == {"train": 3}
    first, *rest = (row.image for row in source.records("train", range(3)))
    assert first == png(1)
    assert not any(rest)
    assert len(source.provenance["sha256"]) == 64


NO_PICTURES = {
    "paths in CSV": (["image,text", "img/1.png,one"], "text such as 'img/1.png', not the bytes"),
    "addresses": (["image,text", "https://a.org/1.png,one"], "text such as 'https://a.org/1.png'"),
    "long text": (["image,text", f"{'a b' * 50},one"], r"text such as '[ab ]{40}\.\.\.'"),
    "other base64": (["image,text", f"{'abcd' * 5},one"], "text such as 'abcdabcd"),
    "numbers": (["image,text", "1,one"], r"has type Value\('int64'\)"),
    "empty": (["image,text", ",one"], ""),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_column_without_the_bytes_of_pictures_is_refused(tmp_path, name):
    rows, problem = NO_PICTURES[name]
    lines(tmp_path / "set", "train.csv", rows)
    with pytest.raises(ValueError, match=rf"^data\.x\.hub\.image_column: column .*{problem}.*;"):
        build(tmp_path / "set")


def test_struct_without_bytes_is_refused(tmp_path):
    fields = pa.struct([("path", pa.string())])
    parquet(tmp_path / "set", pa.table({"image": pa.array([{"path": "a"}], fields)}))
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.image_column: .*; choose a column with"):
        build(tmp_path / "set")


def test_rows_can_be_chosen(folder):
    rows = list(build(folder).records("train", [1, 4]))
    assert [row.id for row in rows] == ["train-0000001", "train-0000004"]
    assert [row.image for row in rows] == [png(1), png(4)]


def test_path_of_a_row_without_bytes_is_never_opened(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    write(tmp_path / "set", [{"bytes": None, "path": str(tmp_path / "secret.png")}])
    assert [row.image for row in build(tmp_path / "set").records("train", [0])] == [None]


def test_hash_depends_on_content_not_location(folder, tmp_path):
    folder.rename(tmp_path / "moved")
    first = build(tmp_path / "moved").provenance
    (tmp_path / "moved").rename(folder)
    assert build(folder).provenance == first
    write(folder, [{"bytes": png(9), "path": None}], "test")
    assert first.keys() == {"sha256"}


def test_folder_may_be_a_symbolic_link(folder, tmp_path):
    # Paths of files that the card names begin with the link, those of other files do not.
    names = "- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{names}---\n")
    link = tmp_path / "link"
    link.symlink_to(folder.parent, target_is_directory=True)
    assert build(link / folder.name).provenance == build(folder).provenance


def test_changed_data_changes_the_hash(tmp_path):
    hashes = set()
    for value in (1, 2):
        write(tmp_path / str(value), [{"bytes": png(value), "path": None}])
        hashes.add(build(tmp_path / str(value)).provenance["sha256"])
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_column": "img"}, r"\.image_column: no column 'img'; choose one of image, label,"),
        ({"caption_column": "txt"}, r"\.caption_column: no column 'txt'; choose one of image"),
        ({"attribute_columns": ["a"]}, r"\.attribute_columns: no column 'a'; choose one of image"),
        ({"image_column": "text"}, r"\.image_column: column 'text' has type Value"),
        ({"caption_column": "boxes"}, r"\.caption_column: column 'boxes' has type List"),
        ({"config": "big"}, r"\.config: no configuration 'big' .*default"),
    ],
)
def test_missing_column_or_config_names_its_param(folder, changes, message):
    with pytest.raises(ValueError, match=r"^data\.x\.hub" + message):
        build(folder, **changes)


def test_folder_without_data_names_its_param(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.location: .* can't be loaded .*;"):
        build(tmp_path)


def test_damaged_data_names_its_param(folder):
    path = folder / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.location: .* can't be loaded .*;"):
        build(folder)


def test_missing_folder_is_not_searched_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went online"))
    with pytest.raises(ValueError, match=r"^data\.x\.hub\.location: no folder '.*nowhere', and"):
        build(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("environment", "fix"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "unset HF_HUB_OFFLINE"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "go online"),
    ],
)
def test_unreachable_hub_is_one_line_and_quick(environment, fix):
    code = (
        "from vqpriors.sources import hub; from vqpriors.core.params import check\n"
        f"config = check('data.x.hub', {VALUES | {'location': 'some/set'}!r}, hub.Config)\n"
        "try: hub.build(config, seed=0, param='data.x.hub')\n"
        "except ValueError as error: print(error)"
    )
    start = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == (
        "data.x.hub.location: could not reach the Hub for 'some/set', and there is no such folder; "
        f"{fix}, or download it elsewhere and set data.x.hub.location to that folder: "
        "`hf download some/set --repo-type dataset --local-dir FOLDER`\n"
    )
    assert time.monotonic() - start < 20


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the data sets beside the repository")
def test_mnist_has_its_known_sizes_and_labels():
    source = build(REAL / "ylecun_mnist", config="mnist", label_column="label")
    assert source.sizes == {"train": 60_000, "test": 10_000}
    assert [row.label for row in source.records("train", range(5))] == list("50419")
