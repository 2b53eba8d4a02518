"""Errors in the text of params.yaml: the key and the line."""

import pytest

from tests.imports import ROOT
from vqpriors.core.params import read_params
from vqpriors.core.params_file import find_error

FAULTS = {  # text, and the message after the file's name
    "key": ("a: 1\nb: 2\na: 3\n", ":3: the key a is already in line 1; remove one of them"),
    "section": (
        "a: {x: 1}\nb: 2\na: {y: 1}\n",
        ":3: the key a is already in line 1; remove one of them",
    ),
    "nested key": (
        "a:\n  b:\n    c: 1\n    d: 2\n    c: 3\n",
        ":5: the key a.b.c is already in line 3; remove one of them",
    ),
    "key in braces": (
        "a:\n  b: {c: 1, c: 2}\n",
        ":2: the key a.b.c is already in line 2; remove one of them",
    ),
    "quoted key": ("a: 1\n'a': 2\n", ":2: the key a is already in line 1; remove one of them"),
    "key of a list's mapping": (
        "a:\n- b: 1\n- b: 1\n  b: 2\n",
        ":4: the key a.1.b is already in line 3; remove one of them",
    ),
    "first of several": (
        "a: 1\na: 2\nb: 1\nb: 2\na: 3\n",
        ":2: the key a is already in line 1; remove one of them",
    ),
    "open bracket": ("a: [1\n", ":2: not valid YAML (while parsing a flow sequence expected"),
    "tab": ("a:\n\tb: 1\n", ":2: not valid YAML (while scanning for the next token found"),
    "unknown alias": ("a: *b\n", ":1: not valid YAML (found undefined alias 'b'); correct it"),
    "indentation": ("a: 1\n  b: 2\n", ":2: not valid YAML (mapping values are not allowed"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_its_line(tmp_path, name):
    text, message = FAULTS[name]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    found = find_error(path)
    assert found.startswith(f"{path}{message}")
    assert "\n" not in found


@pytest.mark.parametrize(
    "text",
    ["", "a: 1\nb: {a: 1}\n", "a: &x {b: 1}\nc:\n  <<: *x\n", "x: {<<: {a: 1}, <<: {b: 1}}\n"],
)
def test_file_without_faults_has_no_error(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    assert find_error(tmp_path / "params.yaml") is None


def test_stage_names_the_key_that_is_there_twice(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text("stages:\n  x:\n    cmd: 'true'\n    params: [seed]\n")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text() + "\nseed: 1\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n  no_scm = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(
        ValueError, match=r"^params\.yaml:\d+: the key seed is already in line \d+;"
    ):
        read_params("x")
