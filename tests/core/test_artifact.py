import json
import os

import pytest
import torch
from safetensors.torch import save_file

from tests.durability import record_flushes_and_renames
from vqpriors.core.artifact import (
    MANIFEST,
    load_model,
    new_file,
    new_folder,
    remove_leftovers,
    save_model,
    verify,
)


def write(path, **files):
    with new_folder(path) as folder:
        for name, content in files.items():
            (folder / name).write_text(content)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_appears_complete_with_a_manifest(tmp_path):
    path = tmp_path / "deep" / "set"
    with new_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("abc")
        assert not path.exists()
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json.loads((path / MANIFEST).read_text()) == {"files": {"sub/a": digest}}
    assert list(path.parent.iterdir()) == [path]


def test_exception_keeps_the_old_folder(tmp_path):
    path = tmp_path / "set"
    write(path, a="old", b="old")
    before = contents(path)

    def fail():
        with new_folder(path) as folder:
            (folder / "a").write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert contents(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_new_folder_replaces_the_old_one(tmp_path):
    path = tmp_path / "set"
    write(path, a="old", b="old")
    write(path, a="new")
    assert sorted(p.name for p in path.iterdir()) == ["a", MANIFEST]
    verify(path)


@pytest.mark.parametrize("name", ["thesis.tex", "sub/.hidden"])
def test_folder_with_files_of_others_is_not_replaced(tmp_path, name):
    path = tmp_path / "set"
    write(path, a="old")
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"set: has {name}, which is not in its manifest and"):
        write(path, a="new")
    assert contents(tmp_path) == before


def test_link_to_a_folder_stays_one(tmp_path):
    path = tmp_path / "elsewhere/set"
    write(path, a="old")
    (tmp_path / "link").symlink_to(path)
    write(tmp_path / "link", a="new")
    assert (tmp_path / "link").is_symlink()
    assert (path / "a").read_text() == "new"
    assert {each.name for each in tmp_path.iterdir()} == {"link", "elsewhere"}
    assert list(path.parent.iterdir()) == [path]


def test_weights_can_be_read_by_others_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "model", config={}, weights={"a": torch.zeros(1)})
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(("config.json", "model.safetensors", MANIFEST), 0o640)


def test_folder_without_a_manifest_is_not_replaced(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set", a="1")  # an empty one is
    (tmp_path / "set" / MANIFEST).write_text("of another program")
    with pytest.raises(ValueError, match=r"set: has a, which is not in its manifest"):
        write(tmp_path / "set", a="2")


def test_file_in_place_of_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "set").write_text("years of work")
    with pytest.raises(ValueError, match=r"set: is a file; choose a folder"):
        write(tmp_path / "set", a="1")
    assert (tmp_path / "set").read_text() == "years of work"


def test_file_that_is_added_while_a_folder_is_written_is_kept(tmp_path):
    path = tmp_path / "set"
    write(path, a="old")

    def write_slowly():
        with new_folder(path) as folder:
            (folder / "a").write_text("new")
            (path / "notes.txt").write_text("mine")

    with pytest.raises(ValueError, match=r"set: has notes\.txt"):
        write_slowly()
    assert (path / "notes.txt").read_text() == "mine"
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_beside_those_of_the_manifest_may_be_edited_and_replaced(tmp_path):
    path = tmp_path / "set"
    for text in ("old", "new"):
        with new_folder(path, besides=["README.md"]) as folder:
            (folder / "a").write_text(text)
            (folder / "README.md").write_text(text)
        assert (path / "README.md").read_text() == text
        (path / "README.md").write_text("edited")
        verify(path)
        assert "README.md" not in (path / MANIFEST).read_text()


def test_only_temporary_files_are_leftovers(tmp_path):
    left = tmp_path / f".tmp-{'a' * 32}-edits.png"
    others = [tmp_path / ".tmp-notes", tmp_path / f".tmp-{'A' * 32}-x", tmp_path / "edits.png"]
    for path in (left, *others):
        path.touch()
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "absent")
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_leftovers_of_killed_writers_of_the_same_path_are_removed(tmp_path):
    same = tmp_path / f".tmp-set-{'a' * 32}"
    other = tmp_path / f".tmp-set-aside-{'b' * 32}"
    for leftover in (same, other):
        leftover.mkdir()
        (leftover / "part").touch()
    write(tmp_path / "set", a="1")
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "set"]


def test_leftovers_of_killed_writers_of_the_same_file_are_removed(tmp_path):
    same = tmp_path / f".tmp-{'a' * 32}-row.txt"
    other = tmp_path / f".tmp-{'b' * 32}-other-row.txt"
    for leftover in (same, other):
        leftover.touch()
    with new_file(tmp_path / "row.txt") as file:
        file.write_text("1")
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "row.txt"]


def test_fingerprint_depends_on_contents_and_names_only(tmp_path):
    prints = []
    for number, files in enumerate([{"a": "1"}, {"a": "1"}, {"a": "2"}, {"b": "1"}]):
        write(tmp_path / str(number), **files)
        prints.append(verify(tmp_path / str(number)))
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert all(len(value) == 64 for value in prints)


@pytest.mark.parametrize("position", [0, 9, -1])
def test_flipped_bit_is_detected(tmp_path, position):
    path = tmp_path / "set"
    write(path, a="1", b="some more content")
    content = bytearray((path / "b").read_bytes())
    content[position] ^= 1
    (path / "b").write_bytes(content)
    with pytest.raises(ValueError, match=r"set/b: damaged .*; restore it with `dvc checkout`"):
        verify(path)


def test_missing_file_and_folder_are_detected(tmp_path):
    path = tmp_path / "set"
    write(path, a="1")
    (path / "a").unlink()
    with pytest.raises(ValueError, match="set/a: missing"):
        verify(path)
    with pytest.raises(ValueError, match=r"absent/manifest.json: missing"):
        verify(tmp_path / "absent")


@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", "{}", '{"files": []}', '{"files": 3}', "\udcff"]
)
def test_broken_manifest_is_refused(tmp_path, manifest):
    path = tmp_path / "set"
    write(path, a="1")
    (path / MANIFEST).write_bytes(manifest.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"manifest.json: not a manifest; restore"):
        verify(path)


def test_model_round_trip_is_exact(tmp_path):
    weights = {"w": torch.randn(3, 2), "on": torch.tensor(True), "n": torch.arange(3)}
    config = {"width": 3, "phases": {"b": 1, "a": [0.1, None]}}
    save_model(tmp_path / "m", config=config, weights=weights, last={"w": torch.zeros(1)})
    model = load_model(tmp_path / "m")
    assert model.config == config
    assert list(model.config["phases"]) == ["b", "a"]
    assert model.weights.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(model.weights[name], value)
        assert model.weights[name].dtype == value.dtype
    assert model.fingerprint == verify(tmp_path / "m")
    assert (tmp_path / "m" / "last.safetensors").exists()


def test_same_model_has_the_same_fingerprint(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, config={"k": 1}, weights={"w": torch.ones(2)})
    assert verify(tmp_path / "a") == verify(tmp_path / "b")


@pytest.mark.parametrize("found", [None, 1, 3])
def test_model_of_another_format_is_refused(tmp_path, found):
    with new_folder(tmp_path / "model") as folder:
        config = {} if found is None else {"format": found}
        (folder / "config.json").write_text(json.dumps(config))
        save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=rf"model: saved in format {found or 1}, .* reads 2; train"
    ):
        load_model(tmp_path / "model")


@pytest.fixture
def events(monkeypatch):
    return record_flushes_and_renames(monkeypatch)


@pytest.mark.parametrize("is_there", [False, True])
def test_folder_is_on_disk_before_it_gets_its_name(tmp_path, events, is_there):
    """A power cut after the rename must not leave a folder with empty files."""
    path = tmp_path / "set"
    if is_there:
        write(path, a="old")
        events.clear()
    with new_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("abc")
    kinds = [kind for kind, _ in events]
    first = kinds.index("rename")
    before = {name for _, name in events[:first]}
    assert before >= {str(folder / name) for name in ("", "sub", "sub/a", MANIFEST)}
    assert events[first] == ("rename", str(folder))
    assert ("flush", str(tmp_path)) in events[first:]


def test_file_is_on_disk_before_it_gets_its_name(tmp_path, events):
    with new_file(tmp_path / "a") as temporary:
        temporary.write_text("abc")
    assert events == [
        ("flush", str(temporary)),
        ("rename", str(temporary)),
        ("flush", str(tmp_path)),
    ]
