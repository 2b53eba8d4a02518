"""The folders that `generate` writes."""

import json
import threading

import pytest
from PIL import Image

from tests.parts import make_parts, picture, same
from vqpriors.__main__ import main
from vqpriors.cli.results import make_numbered_folder
from vqpriors.inference.generator import Generator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "data"
    make_parts(path, "cftn2")
    return path


def draw(model, *options):
    main(["generate", "--from", str(model), *map(str, options)])


def read_list(folder):
    return [json.loads(line) for line in (folder / "pictures.jsonl").read_text().splitlines()]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_each_call_has_a_folder_of_its_own(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw(model, "--prompt", "a red six", "--num-samples", 3)
    first = contents(tmp_path / "samples/0001")
    draw(model, "--prompt", "a green six")
    assert contents(tmp_path / "samples/0001") == first
    names = {path.name for path in (tmp_path / "samples/0002").iterdir()}
    assert names == {"000-000.png", "sheet.png", "pictures.jsonl"}
    printed = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" in ")[2] for line in printed] == ["samples/0001", "samples/0002"]


def test_number_follows_the_highest_one_and_other_files_are_left_alone(tmp_path):
    for name in ("0007", "mine", "000-000.png"):
        (tmp_path / name).mkdir()
    (tmp_path / "0009").write_text("a file")
    assert make_numbered_folder(tmp_path).name == "0010"
    assert make_numbered_folder(tmp_path / "new").name == "0001"


def test_calls_at_the_same_time_get_different_folders(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(make_numbered_folder(tmp_path)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def test_failed_call_leaves_no_folder(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="guidance: must be 0 to 100, got 101"):
        draw(model, "--prompt", "a red six", "--guidance", 101)
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "sheet.png", "sheet.gif", ".hidden", "sub/a.png"])
def test_folder_with_files_is_refused_and_unchanged(tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(SystemExit, match=r"generate: --out: .*/out: is not empty; choose another"):
        draw(tmp_path / "no model", "--prompt", "x", "--animate", "--out", tmp_path / "out")
    assert path.read_text() == "years of work"
    assert len([each for each in (tmp_path / "out").rglob("*") if each.is_file()]) == 1


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("years of work")
    with pytest.raises(SystemExit, match=r"generate: --out: .*/out: is a file; choose a folder"):
        draw(tmp_path / "no model", "--prompt", "x", "--out", tmp_path / "out")


def test_list_and_pictures_tell_what_they_depend_on(model, tmp_path):
    options = ["--prompt", "a red six", "--prompt", "six, Größe 5 Ω", "--num-samples", 2]
    draw(model, *options, "--seed", 5, "--steps", 2, "--guidance", 3, "--out", tmp_path / "out")
    generator = Generator.load(model)
    shared = {"seed": 5, "steps": 2, "guidance": 3.0}
    shared["temperature"] = generator.sampler.config.temperature
    shared |= generator.sampler.config.model_dump(exclude={"temperature", "latent_temperature"})
    shared |= {"sampler": "maskgit", "precision": generator.defaults.precision, "compile": False}
    shared |= {"prior": "cftn2", "model": generator.fingerprint}
    records = read_list(tmp_path / "out")
    assert [each["file"] for each in records] == [
        f"00{i}-00{k}.png" for i in (0, 1) for k in (0, 1)
    ]
    assert [each["number"] for each in records] == [0, 1, 2, 3]
    assert [each["prompt"] for each in records] == ["a red six"] * 2 + ["six, Größe 5 Ω"] * 2
    assert all(shared.items() <= each.items() for each in records)
    for record in records:
        texts = Image.open(tmp_path / "out" / record["file"]).text
        assert texts["prompt"] == record["prompt"]
        expected = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in record.items()
            if key != "file"
        }
        assert texts == expected
    sheet = Image.open(tmp_path / "out/sheet.png").text
    assert sheet.keys() == shared.keys()


def test_picture_can_be_drawn_again_from_its_record(model, tmp_path):
    draw(model, "--prompt", "a red six", "--num-samples", 3, "--seed", 2, "--out", tmp_path / "a")
    record = read_list(tmp_path / "a")[2]
    names = ("seed", "steps", "guidance", "temperature")
    settings = {name: record[name] for name in names}
    again = Generator.load(model)(record["prompt"], num_samples=record["number"] + 1, **settings)
    assert same(again[-1:], [Image.open(tmp_path / "a" / record["file"])])


def test_files_of_equal_calls_are_equal(model, tmp_path):
    for name in ("a", "b"):
        draw(model, "--prompt", "a red six", "--animate", "--out", tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_record_of_a_redrawn_picture_names_its_source(model, tmp_path):
    source = tmp_path / "source.png"
    picture().save(source)
    draw(model, "--vary", source, "--out", tmp_path / "out")
    (record,) = read_list(tmp_path / "out")
    assert record["vary"] == "source.png"
    assert record["prompt"] == ""
    assert str(tmp_path) not in (tmp_path / "out/pictures.jsonl").read_text()


@pytest.mark.parametrize("paste", [True, False])
def test_kept_pixels_are_pasted_unless_refused(model, tmp_path, paste):
    source, mask = tmp_path / "source.png", tmp_path / "mask.png"
    picture().save(source)
    area = Image.new("L", picture().size)
    area.putpixel((0, 0), 255)
    area.save(mask)
    refusal = [] if paste else ["--no-paste"]
    draw(model, "--inpaint", source, mask, *refusal, "--out", tmp_path / "out")
    (record,) = read_list(tmp_path / "out")
    assert (record["inpaint"], record["mask"]) == ("source.png", "mask.png")
    assert record["paste"] is paste
    drawn = Image.open(tmp_path / "out" / record["file"])
    assert same([drawn], Generator.load(model).inpaint(picture(), area, paste=paste))
