"""Errors of a fake Hub on loopback, by which a stage names a param and the fix."""

import os
import subprocess
import sys

import pytest

from tests.fake_hub import running
from tests.imports import ROOT

NOWHERE = "http://127.0.0.1:9"
CODE = """
import errno
from huggingface_hub import snapshot_download
from vqpriors.publish.hub_errors import naming_param
def broken(*_, **__): raise KeyError("sha")
def full(*_, **__):
    try: raise OSError(errno.ENOSPC, "No space left")
    except OSError as error: raise RuntimeError("can't write") from error
try:
    with naming_param("text.clip", "me/model", {revision!r}, repo_type="model"):
        {call}("me/model", revision={revision!r})
except ValueError as error: print(error)
except Exception as error: print(type(error).__name__)
"""
LOCAL = "download it elsewhere and set text.clip.location to that folder: `hf download me/model"
LOGIN = "log in with `hf auth login` or set HF_TOKEN"
FAILURES = {  # what is changed, and the message
    "gated": (
        {"how": {"is_gated": True}},
        "text.clip.location: access to 'me/model' is gated; request it at "
        f"https://huggingface.co/me/model, then {LOGIN}, or {LOCAL} --local-dir FOLDER`",
    ),
    "private": (
        {"how": {"is_private": True}, "HF_TOKEN": ""},
        "text.clip.location: no folder 'me/model', and no such model on the Hub, or a private "
        f"one; correct it, {LOGIN}, or give a folder",
    ),
    "missing": (
        {"name": "me/other"},
        "text.clip.location: no folder 'me/model', and no such model on the Hub, or a private "
        f"one; correct it, {LOGIN}, or give a folder",
    ),
    "refused": (
        {"how": {"refusal": (403, "Storage quota exceeded")}},
        "text.clip.location: the Hub refuses access to 'me/model' (Storage quota exceeded); "
        f"{LOGIN}, or {LOCAL} --local-dir FOLDER`",
    ),
    "bad token": (
        {"how": {"refusal": (401, "Invalid credentials")}},
        "text.clip.location: the Hub refuses access to 'me/model' (Invalid credentials); "
        f"{LOGIN}, or {LOCAL} --local-dir FOLDER`",
    ),
    "down": (
        {"is_down": True},
        "text.clip.location: the Hub answers 503 for 'me/model' (Down for a while); "
        f"try again later, or {LOCAL} --local-dir FOLDER`",
    ),
    "gone": (
        {"how": {"refusal": (410, "Gone")}},
        "text.clip.location: the Hub answers 410 for 'me/model' (Gone); "
        f"try again later, or {LOCAL} --local-dir FOLDER`",
    ),
    "no network": (
        {"HF_ENDPOINT": NOWHERE},
        "text.clip.location: could not reach the Hub for 'me/model', and there is no such "
        f"folder; go online, or {LOCAL} --local-dir FOLDER`",
    ),
    "no network, for a revision": (
        {"HF_ENDPOINT": NOWHERE, "revision": "v1"},
        "text.clip.location: could not reach the Hub for 'me/model', and there is no such "
        f"folder; go online, or {LOCAL} --revision v1 --local-dir FOLDER`",
    ),
    "offline": (
        {"HF_HUB_OFFLINE": "1"},
        "text.clip.location: could not reach the Hub for 'me/model', and there is no such "
        f"folder; unset HF_HUB_OFFLINE, or {LOCAL} --local-dir FOLDER`",
    ),
    "unknown revision": (
        {"revision": "v2"},
        "text.clip.revision: 'me/model' has no revision 'v2'; choose another, such as main",
    ),
    "another failure": (
        {"call": "broken"},
        "text.clip.location: 'me/model' can't be downloaded (KeyError: 'sha'); try again later, "
        f"or {LOCAL} --local-dir FOLDER`",
    ),
    "full disk": ({"call": "full"}, "RuntimeError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failed_download_names_the_param_and_the_fix(tmp_path, name):
    change, message = FAILURES[name]
    variables = {key: value for key, value in change.items() if key.startswith("HF_")}
    options = {"call": "snapshot_download", "revision": "main"}
    code = CODE.format(**{key: change.get(key, value) for key, value in options.items()})
    with running() as hub:
        hub.add(change.get("name", "me/model"), {"config.json": b"{}"}, **change.get("how", {}))
        hub.is_down = change.get("is_down", False)
        environment = {"PYTHONPATH": str(ROOT / "src")} | hub.environment(tmp_path) | variables
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
    assert ran.stdout == f"{message}\n", ran.stderr
