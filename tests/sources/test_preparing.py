import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages import download
from tests.memory_source import RECIPE, bad, made, png, record
from vqpriors.core.params import Params, check
from vqpriors.data import images
from vqpriors.data.shards import read_split
from vqpriors.sources.base.preparing import DatasetConfig, DecodingConfig, section_path

REPOSITORY = Path(__file__).resolve().parents[2]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_round_trip(tmp_path):
    made(tmp_path, [record(i) for i in range(20)])
    seen = set()
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        part = images.read_images(tmp_path / "images", split)
        assert part.pixels.shape == (count, 3, 8, 8)
        assert part.captions == ["a bag"] * count
        for name, pixels in zip(part.ids, part.pixels, strict=True):
            assert (pixels[0] == int(name.removeprefix("id-"))).all()
        seen |= set(part.ids)
    assert len(seen) == 20


def test_columns_are_the_schema(tmp_path):
    made(tmp_path, [record(i) for i in range(20)])
    assert read_split(tmp_path / "images", "train").schema.equals(images.SCHEMA)
    assert len(list((tmp_path / "images").glob("train-*-of-00003.parquet"))) == 3


def test_provenance_is_recorded(tmp_path):
    made(tmp_path, [record(i) for i in range(20)])
    assert images.read_source(tmp_path / "images") == {
        "name": "x",
        "source": "memory",
        "image_size": 8,
        "channels": 3,
        "resize": "crop",
        "background": "black",
        "splits": {"train": 12, "validation": 4, "test": 4},
        "quarantined": {"train": 0, "validation": 0, "test": 0},
        "provenance": {"sha256": "0"},
    }


def test_same_seed_writes_the_same_bytes(tmp_path):
    rows = [record(i) for i in range(20)]
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made(tmp_path / name, rows, seed=seed)
    first, second, other = (content(tmp_path / name / "images") for name in "abc")
    assert first == second
    assert first != other


def test_label_becomes_an_attribute_if_there_is_no_other(tmp_path):
    rows = [record(i, attributes={"size": "big"} if i % 2 else None) for i in range(20)]
    made(tmp_path, rows, caption="{label}")
    part = images.read_images(tmp_path / "images", "train")
    for name, facts in zip(part.ids, part.attributes, strict=True):
        odd = int(name.removeprefix("id-")) % 2
        assert facts == ({"size": "big"} if odd else {"label": "bag"})


def test_unlabelled_rows_have_no_attributes(tmp_path):
    made(tmp_path, [record(i, label=None) for i in range(20)], caption=None)
    part = images.read_images(tmp_path / "images", "test")
    assert part.attributes == [{}] * 4
    assert part.labels == [None] * 4
    assert part.captions == [""] * 4


def test_own_caption_takes_precedence_over_the_template(tmp_path):
    made(tmp_path, [record(i, caption=f"number {i}") for i in range(20)])
    part = images.read_images(tmp_path / "images", "test")
    assert part.captions == [name.replace("id-", "number ") for name in part.ids]


def test_attributes_fill_the_template(tmp_path):
    made(
        tmp_path, [record(i, attributes={"hue": "red"}) for i in range(20)], caption="{hue} {label}"
    )
    assert images.read_images(tmp_path / "images", "test").captions == ["red bag"] * 4


def test_unknown_field_names_the_template_param(tmp_path):
    expected = (
        r"^data\.x\.caption: .*no field \{kind\}, this row has label\); correct the template, "
        r"or set it to null for no captions$"
    )
    with pytest.raises(ValueError, match=expected):
        made(tmp_path, [record(i) for i in range(20)], caption="a {kind}")


def test_malformed_template_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.x\.caption: is not a valid template"):
        made(tmp_path, [record(0)], caption="a {label")


def floating():
    buffer = io.BytesIO()
    Image.new("F", (8, 8)).save(buffer, "TIFF")
    return buffer.getvalue()


def test_bad_rows_are_quarantined_with_index_and_reason(tmp_path):
    rows = [record(i) for i in range(40)]
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    faults = {
        3: (b"rubbish", "not a PNG, JPEG or other known picture"),
        8: (None, "no bytes"),
        15: (floating(), "floating-point pixels have no fixed range"),
        21: (buffer.getvalue()[:900], "can't be decoded"),
        30: (png(size=(40, 40)), "40 x 40 is more than data.decoding.max_pixels=1000"),
    }
    for index, (data, _) in faults.items():
        rows[index] = bad(index, data)
    summary = made(tmp_path, rows)
    lines = (tmp_path / "images" / "quarantine.jsonl").read_text().splitlines()
    found = {row["index"]: row for row in map(json.loads, lines)}
    assert sum(summary.quarantined.values()) == 5
    assert sum(summary.rows.values()) == 35
    assert found.keys() == faults.keys()
    for index, (_, reason) in faults.items():
        assert list(found[index]) == ["split", "index", "id", "reason"]
        assert found[index]["id"] == f"id-{index}"
        assert reason in found[index]["reason"]
        assert f"id-{index}" not in images.read_images(tmp_path / "images", "train").ids


def test_too_many_bad_rows_raise_and_keep_the_old_output(tmp_path):
    made(tmp_path, [record(i) for i in range(20)])
    before = content(tmp_path / "images")
    rows = [bad(i, b"rubbish") if i % 2 else record(i) for i in range(20)]
    expected = r"^data\.decoding\.max_bad_share: at least 3 of 12 train rows are bad \(first: row"
    with pytest.raises(ValueError, match=expected):
        made(tmp_path, rows, decoding={"max_bad_share": 0.2})
    assert content(tmp_path / "images") == before
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_split_without_a_usable_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.x: every train row is bad \(first: no bytes\)"):
        made(tmp_path, [bad(i, None) for i in range(20)], decoding={"max_bad_share": 1})


def test_problem_of_a_record_is_the_reason_of_its_quarantine(tmp_path):
    rows = [record(i, problem="no file 'b.png'" if i == 3 else None) for i in range(20)]
    made(tmp_path, rows)
    assert json.loads((tmp_path / "images/quarantine.jsonl").read_text())["reason"] == (
        "no file 'b.png'"
    )


def test_stage_names_what_it_does_not_use(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "set"
    for i in range(20):
        (folder / "train" / f"{i}.txt").parent.mkdir(parents=True, exist_ok=True)
        (folder / "train" / f"{i}.txt").write_text(f"number {i}\nno. {i}")
        (folder / "train" / f"{i}.png").write_bytes(png(i))
    (folder / "Eval").mkdir()
    (folder / "Eval" / "a.jfif").write_bytes(png())
    (folder / "Eval" / "b.heic").write_bytes(b"x")
    params = values()
    params["data"]["name"] = "folder"
    params["data"]["folder"]["imagefolder"]["location"] = str(folder)
    params["data"]["folder"] |= {"captions": "random", "caption": None}
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    download.main(Params(params))
    assert capsys.readouterr().out == (
        "data.folder: 18 train, 2 validation, 1 test; 3 x 64 x 64; 0 quarantined; "
        "used 21 of 22 files: 1 .heic of no supported ending; 1 without caption\n"
    )
    found = images.read_images(Path("data/images"), "train").all_captions
    assert all(lists[1] == lists[0].replace("number", "no.") for lists in found)


def test_missing_pictures_stop_the_stage_by_their_share(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "text": f"{i}"} for i in range(20)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for i in range(10, 20):
        (folder / f"{i}.png").write_bytes(png(i))
    params = values()
    params["data"]["name"] = "folder"
    params["data"]["folder"]["imagefolder"]["location"] = str(folder)
    monkeypatch.chdir(tmp_path)
    expected = r"^data\.decoding\.max_bad_share: .*no file '\d\.png', listed in metadata\.jsonl:\d"
    with pytest.raises(ValueError, match=expected):
        download.main(Params(params))
    assert not (tmp_path / "data/images").exists()


def test_unknown_key_is_refused():
    with pytest.raises(ValueError, match=r"^data\.x\.limits: unknown key"):
        check("data.x", RECIPE | {"limits": 3}, DatasetConfig)
    check("data.x", RECIPE | {"memory": {"anything": 3}}, DatasetConfig)


def values(**digits):
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["data"]["name"] = "digits"
    values["data"]["digits"].update(digits)
    return values


def test_unknown_data_set_lists_the_available_ones():
    params = values()
    params["data"]["name"] = "digts"
    expected = r"^data\.name: no data set 'digts' in params\.yaml; choose one of digits, mnist, "
    with pytest.raises(ValueError, match=expected):
        section_path(Params(params))


def test_stage_writes_the_default_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    download.main(Params(values(limit=30)))
    assert capsys.readouterr().out == (
        "data.digits: 30 train, 30 validation, 30 test; 3 x 32 x 32; 0 quarantined\n"
    )
    part = images.read_images(tmp_path / "data/images", "test")
    assert part.pixels.shape == (30, 3, 32, 32)
    assert set(part.attributes[0]) == {"size", "color", "digit", "background"}


def test_every_section_of_params_is_valid():
    params = Params(values())
    params.section("data.decoding", DecodingConfig)
    for name, section in params.raw("data").items():
        if isinstance(section, dict) and "source" in section:
            params.section(f"data.{name}", DatasetConfig)
            params.kind(f"data.{name}.source", "vqpriors.sources")


def test_only_the_hub_source_imports_datasets():
    code = "import sys, stages.download, vqpriors.sources.digits, vqpriors.sources.imagefolder; "
    check_modules = "print({'datasets', 'torch', 'mlxtend', 'sklearn'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code + check_modules],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "set()\n"
