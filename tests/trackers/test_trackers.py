"""Trackers are told all that a run logs, and can't stop it."""

import socket
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tests.trackers.offline import points
from vqpriors.trackers.base import background
from vqpriors.trackers.base.background import Patient, Place, TrackingConfig, tracked

OFF = {"wandb": False, "mlflow": False, "project": "tests"}
PICTURE = Image.fromarray(np.zeros((4, 4), np.uint8))


class Told:
    """A run that remembers; fails at the n-th call."""

    def __init__(self, failing=None):
        self.calls, self.failing = [], failing

    def _call(self, *call):
        if len(self.calls) == self.failing:
            raise OSError("the disk\nis full")
        self.calls.append(call)

    def log(self, step, values):
        self._call("log", step, values)

    def show(self, step, name, picture):
        self._call("show", step, name, picture)

    def close(self, summary):
        self._call("close", summary)


def tell(patient):
    patient.log(1, {"train/loss": 2.0})
    patient.show(1, "sheet", PICTURE)
    patient.close({"size": 3.0})
    patient.leave()


def test_run_is_told_everything_in_its_order():
    run, said = Told(), []
    tell(Patient("x", lambda: run, say=said.append))
    log, show, close = run.calls
    assert log == ("log", 1, {"train/loss": 2.0})
    assert show == ("show", 1, "sheet", PICTURE)
    assert close == ("close", {"size": 3.0})
    assert said == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_failing_tracker_is_named_once_and_told_no_more(failing):
    run, said = Told(failing), []
    tell(Patient("x", lambda: run, say=said.append))
    assert len(run.calls) == failing
    assert said == ["runtime.tracking.x: OSError: the disk is full; going on without it"]


def test_tracker_that_can_not_be_opened_is_named_once():
    said = []

    def closed():
        raise ConnectionError("no server")

    tell(Patient("x", closed, say=said.append))
    assert said == ["runtime.tracking.x: ConnectionError: no server; going on without it"]


def test_slow_tracker_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(background, "LEAVING_SECONDS", 0.1)
    said, release = [], threading.Event()

    def slow():
        release.wait()
        return Told()

    patient = Patient("x", slow, say=said.append)
    tell(patient)
    release.set()
    assert said == ["runtime.tracking.x: not done 0 s after training; going on without it"]


def test_tracker_that_falls_behind_is_left_out(monkeypatch):
    monkeypatch.setattr(background, "WAITING", 3)
    said, release = [], threading.Event()

    def slow():
        release.wait()
        return Told()

    patient = Patient("x", slow, say=said.append)
    for step in range(6):
        patient.log(step, {})
    release.set()
    assert said == ["runtime.tracking.x: 3 points wait for it; going on without it"]


def test_no_tracker_is_opened_unless_it_is_on(tmp_path):
    with tracked(TrackingConfig(**OFF), Place("tests", "train_prior", tmp_path, {})) as runs:
        assert runs == []


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("wandb", "wandb", "wandb"), ("mlflow", "mlflow", "mlflow-skinny")],
)
def test_missing_package_is_named(tmp_path, monkeypatch, capsys, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    place = Place("tests", "train_prior", tmp_path, {})
    with tracked(TrackingConfig(**OFF | {name: True}), place) as (run,):
        tell(run)
    assert capsys.readouterr().err == (
        f"warning: train_prior: runtime.tracking.{name}: RuntimeError: {module} is not installed "
        f"(pip install {package}); going on without it\n"
    )


def test_server_that_is_down_is_named_once(tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    place = Place("tests", "train_prior", tmp_path, {})
    with tracked(TrackingConfig(**OFF | {"mlflow": True}), place) as (run,):
        tell(run)
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if line.startswith("warning: ")]
    assert len(named) == 1
    assert named[0].startswith("warning: train_prior: runtime.tracking.mlflow: ")
    assert named[0].endswith("; going on without it")


def test_interrupted_offline_run_has_no_gap_and_no_overlap(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "LEAVING_SECONDS", 300)  # for a crowded machine
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = Place("tests", "train_prior", tmp_path, {"prior": {"arch": "lstm"}})
    tracking = TrackingConfig(**OFF | {"wandb": True})
    whole = [(step, {"train/loss": 1 / step}) for step in (20, 40, 60)]
    whole.insert(2, (40, {"validation/loss": 0.5}))
    with tracked(tracking, place) as (run,):
        for point in whole[:3]:
            run.log(*point)
    with tracked(tracking, place) as (run,):  # from a checkpoint at 20
        for point in whole:
            run.log(*point)
        run.show(60, "sheet", PICTURE)
        run.close({"size": 3.0})
    found = points(tmp_path)
    assert found["train/loss"] == [(20, 1 / 20), (40, 1 / 40), (60, 1 / 60)]
    assert found["validation/loss"] == [(40, 0.5)]
