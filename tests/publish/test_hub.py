"""Upload and download of generators with a fake Hub on loopback, in processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.fake_hub import TOKEN, running
from tests.imports import ROOT
from tests.parts import make_parts, same
from vqpriors.inference.bundle import PARTS, SETTINGS
from vqpriors.inference.generator import Generator

PROMPT = "a red six"
NOWHERE = "http://127.0.0.1:9"
FETCH = f"print(hub.fetch({{!r}}, {{!r}}, parts={PARTS}, besides=[{SETTINGS!r}]))"
PUSH = f"print(hub.push(Path({{!r}}), {{!r}}, is_private=True, branch={{!r}}, parts={PARTS}))"


@pytest.fixture
def hub():
    with running() as hub:
        yield hub


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder that `Generator.save` wrote."""
    place = tmp_path_factory.mktemp("saved")
    make_parts(place / "data", "cftn2")
    Generator.load(place / "data").save(place / "saved")
    return place / "saved"


def files_of(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run_python(*arguments, **environment):
    """Run Python in another process, with this package, and return its output."""
    own = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True)


def call(code, **environment):
    """Return the output of a call of `publish.hub`, or its error."""
    code = f"try: {code}\nexcept ValueError as error: print('error:', error)"
    code = f"from pathlib import Path\nfrom vqpriors.publish import hub\n{code}"
    done = run_python("-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def test_pushed_generator_draws_the_same_in_another_home(hub, saved, tmp_path):
    command = ["-m", "vqpriors", "push", "me/digits", "--from", saved]
    done = run_python(*command, **hub.environment(tmp_path / "mine"))
    assert (done.returncode, done.stdout) == (0, f"{hub.url}/me/digits\n"), done.stderr
    assert hub.repositories["me/digits"].is_private
    out = tmp_path / "out"
    command = ["-m", "vqpriors", "generate", "--from", "me/digits", "--prompt", PROMPT]
    command += ["--num-samples", 3, "--seed", 5, "--out", out]
    done = run_python(*command, **hub.environment(tmp_path / "theirs"))
    assert done.returncode == 0, done.stderr
    expected = Generator.load(saved)(PROMPT, num_samples=3, seed=5)
    assert same([Image.open(path) for path in sorted(out.glob("000-*.png"))], expected)


def test_push_uploads_the_files_of_save_with_the_repositorys_name(hub, saved, tmp_path):
    command = ["-m", "vqpriors", "push", "me/digits", "--from", saved, "--public"]
    assert run_python(*command, **hub.environment(tmp_path / "home")).returncode == 0
    pushed, kept = hub.repositories["me/digits"].files, files_of(saved)
    assert not hub.repositories["me/digits"].is_private
    assert pushed.keys() == kept.keys() | {".gitattributes"}
    named = {"README.md", "settings.json", "manifest.json"}  # the card, and the hash of it
    assert {name for name in kept if pushed[name] != kept[name]} == named
    _, head, card = pushed["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["pipeline_tag"] == "text-to-image"
    assert 'Generator.load("me/digits")' in card
    assert str(tmp_path) not in card


def test_generator_loaded_from_the_hub_can_be_saved(hub, saved, tmp_path):
    hub.add("me/digits", files_of(saved))
    target = tmp_path / "again/saved"
    code = "from vqpriors.inference.generator import Generator\n"
    code += f"Generator.load('me/digits').save({str(target)!r})"
    done = run_python("-c", code, **hub.environment(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert files_of(target) == files_of(saved)


def test_another_push_replaces_parts_and_leaves_other_files(hub, saved, tmp_path):
    kept = files_of(saved) | {"README.md": b"edited"}
    manifest = json.loads(kept["manifest.json"])
    for name in ("text/vocab.txt", "prior/old.json"):  # of another encoder, and of another prior
        kept[name] = b"1"
        manifest["files"][name] = "0" * 64
    kept["manifest.json"] = json.dumps(manifest).encode()
    repository = hub.add("me/digits", kept | {"notes.md": b"mine"})
    answer = call(PUSH.format(str(saved), "me/digits", None), **hub.environment(tmp_path))
    assert answer == f"{hub.url}/me/digits"
    assert repository.files == files_of(saved) | {"notes.md": b"mine"}


@pytest.mark.parametrize("branch", [None, "try"])
@pytest.mark.parametrize(
    ("name", "is_pushed"),
    [("README.md", False), ("tokenizer/vocab.json", False), ("prior/notes.txt", True)],
)
def test_push_leaves_a_repository_with_files_of_others_alone(
    hub, saved, tmp_path, name, is_pushed, branch
):
    before = (files_of(saved) if is_pushed else {"model_index.json": b"{}"}) | {name: b"mine"}
    repository = hub.add("me/other", before)
    answer = call(PUSH.format(str(saved), "me/other", branch), **hub.environment(tmp_path))
    problem = f"has {name}, which `push` has not written and would replace or delete"
    assert answer == f"error: me/other: {problem}; choose another repository or move that file"
    assert repository.branches.keys() == {"main"}
    assert repository.files == before


def test_push_to_a_branch_leaves_the_main_one(hub, saved, tmp_path):
    repository = hub.add("me/digits", {"notes.md": b"mine"})
    home = hub.environment(tmp_path)
    for _ in range(2):  # the second time it exists
        call(PUSH.format(str(saved), "me/digits", "try"), **home)
    assert repository.files == {"notes.md": b"mine"}
    assert files_of(saved).items() <= repository.commits[repository.branches["try"]].items()


def test_revision_is_a_branch_or_a_commit(hub, saved, tmp_path):
    whole = files_of(saved)
    repository = hub.add("me/digits", whole | {"text/note.txt": b"first"})
    first = repository.branches["main"]
    repository.commit("main", whole | {"text/note.txt": b"second"})
    repository.commit("try", whole | {"text/note.txt": b"third"})
    home = hub.environment(tmp_path)
    for revision, note in ((first, "first"), (None, "second"), ("try", "third")):
        folder = call(FETCH.format("me/digits", revision), **home)
        assert Path(folder, "text/note.txt").read_text() == note


def test_only_needed_files_are_fetched_and_no_pickle(hub, saved, tmp_path):
    needed = files_of(saved).keys() - {"README.md"}
    evil = ["prior/model.pkl", "pytorch_model.bin", "prior/x.bin", "text/run.py", "other/x.json"]
    hub.add("me/digits", files_of(saved) | dict.fromkeys(evil, b"evil"))
    folder = call(FETCH.format("me/digits", None), **hub.environment(tmp_path))
    assert files_of(Path(folder)).keys() == needed
    assert not [line for line in hub.requests if line.endswith(tuple(evil))]


def test_fetched_files_need_no_hub_the_next_time(hub, saved, tmp_path):
    hub.add("me/digits", files_of(saved))
    home = hub.environment(tmp_path)
    folder = call(FETCH.format("me/digits", None), **home)
    assert call(FETCH.format("me/digits", None), **home | {"HF_ENDPOINT": NOWHERE}) == folder
    assert call(FETCH.format("me/digits", None), **home | {"HF_HUB_OFFLINE": "1"}) == folder


def test_damaged_cache_is_downloaded_again(hub, saved, tmp_path):
    hub.add("me/digits", files_of(saved))
    home = hub.environment(tmp_path)
    folder = call(FETCH.format("me/digits", None), **home)
    path = next((tmp_path / "hub").rglob("snapshots/*/settings.json"))
    path.write_bytes(path.read_bytes().replace(b'"steps": 3', b'"steps": 4'))
    assert call(FETCH.format("me/digits", None), **home) == folder
    assert path.read_bytes() == (saved / SETTINGS).read_bytes()


def without(files, *starts):
    return {name: data for name, data in files.items() if not name.startswith(starts)}


REFUSED = {
    "unknown repository": (
        {"name": "me/none"},
        "me/none: no such folder, and no such repository on the Hub, or a private one;",
    ),
    "private repository": (
        {"how": {"is_private": True}, "HF_TOKEN": ""},
        "me/digits: no such folder, and no such repository on the Hub, or a private one;",
    ),
    "gated repository": (
        {"how": {"is_gated": True}},
        "me/digits: access is gated; request it on its page, then log in with `hf auth login`",
    ),
    "refused repository": (
        {"how": {"refusal": (403, "Your IP address is blocked")}},
        "me/digits: the Hub refuses (Your IP address is blocked); log in with `hf auth login` or "
        "set HF_TOKEN, with a token that has read access",
    ),
    "bad token": (
        {"how": {"refusal": (401, "Invalid credentials")}},
        "me/digits: the Hub refuses (Invalid credentials); log in with `hf auth login` or set "
        "HF_TOKEN, with a token that has read access",
    ),
    "unknown revision": (
        {"revision": "nope"},
        "me/digits: has no revision 'nope'",
    ),
    "not a Hub id": (
        {"name": "me/digits--x"},
        "me/digits--x: not a Hub id (Cannot have -- or .. in repo_id: 'me/digits--x'.)",
    ),
    "no network": (
        {"HF_ENDPOINT": NOWHERE},
        "me/digits: no such folder, and the Hub can't be reached; go online, or download it",
    ),
    "offline": (
        {"HF_HUB_OFFLINE": "1"},
        "me/digits: no such folder, and HF_HUB_OFFLINE is set; go online, or",
    ),
    "hub is down": (
        {"is_down": True},
        "me/digits: no such folder, and the Hub can't be reached; go online",
    ),
    "missing part": (
        {"lost": ["prior/"]},
        "me/digits: there is no prior/manifest.json in it; choose one that `push` has written",
    ),
    "another model": (
        {"lost": ["prior/", "text/", "tokenizer/", "settings", "manifest"]},
        "me/digits: there is no tokenizer/manifest.json in it; choose one that `push` has written",
    ),
    "missing file": (
        {"lost": ["prior/model.safetensors"]},
        "me/digits: prior/model.safetensors: missing; load it again while online, or push it again",
    ),
    "damaged weights": (
        {"damaged": {"tokenizer/model.safetensors"}},
        "me/digits: tokenizer/model.safetensors: damaged (its SHA-256 is not the manifest's); load",
    ),
    "damaged settings": (
        {"damaged": {"settings.json"}},
        "me/digits: settings.json: damaged (its SHA-256 is not the manifest's); load it again",
    ),
    "damaged weights without a manifest of all": (
        {"damaged": {"tokenizer/model.safetensors"}, "lost": ["manifest.json"]},
        "me/digits: tokenizer/model.safetensors: damaged (its SHA-256 is not the manifest's); load",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_failed_fetch_gives_a_one_line_error(hub, saved, tmp_path, name):
    change, problem = REFUSED[name]
    environment = {key: value for key, value in change.items() if key.startswith("HF_")}
    kept = without(files_of(saved), *change.get("lost", ["-"]))
    hub.add("me/digits", kept | {"README.md": b"# A model"}, **change.get("how", {}))
    hub.damaged, hub.is_down = change.get("damaged", set()), change.get("is_down", False)
    source, revision = change.get("name", "me/digits"), change.get("revision")
    started = time.monotonic()
    line = call(FETCH.format(source, revision), **hub.environment(tmp_path) | environment)
    assert line.startswith(f"error: {problem}")
    assert "\n" not in line
    assert time.monotonic() - started < 30


UNPUSHED = {
    "no login": ({"HF_TOKEN": ""}, "me/digits: the Hub refuses (Invalid username or password.);"),
    "no rights": (
        {"name": "others/digits"},
        "others/digits: the Hub refuses (You don't have the rights",
    ),
    "no network": ({"HF_ENDPOINT": NOWHERE}, "me/digits: the Hub can't be reached; go online"),
    "offline": ({"HF_HUB_OFFLINE": "1"}, "me/digits: HF_HUB_OFFLINE is set; go"),
    "hub is down": ({"is_down": True}, "me/digits: the Hub answers 503 (Down for a while); try"),
    "not a Hub id": ({"name": "digits"}, "digits: not a Hub id; give one such as owner/name"),
}


@pytest.mark.parametrize("name", UNPUSHED)
def test_failed_push_gives_a_one_line_error(hub, saved, tmp_path, name):
    change, problem = UNPUSHED[name]
    environment = {key: value for key, value in change.items() if key.startswith("HF_")}
    hub.is_down = change.get("is_down", False)
    code = PUSH.format(str(saved), change.get("name", "me/digits"), None)
    line = call(code, **hub.environment(tmp_path) | environment)
    assert line.startswith(f"error: {problem}")
    assert line.endswith("that has write access to it") == ("refuses" in problem)
    assert "\n" not in line
    assert TOKEN not in line


def test_folder_takes_precedence_over_a_repository_of_its_name(saved, tmp_path, monkeypatch):
    (tmp_path / "me").mkdir()
    (tmp_path / "me/digits").symlink_to(saved, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert Generator.load("me/digits").folder.is_dir()


@pytest.mark.parametrize("source", ["digits", "./me/digits", "a/b/c", "/me/digits"])
def test_source_that_is_neither_folder_nor_hub_id_is_refused(source):
    with pytest.raises(
        ValueError, match=r": not there; make it with `dvc repro`, .* a Hub id or `default`$"
    ):
        Generator.load(source)
