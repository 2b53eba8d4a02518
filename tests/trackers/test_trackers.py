"""Trackers get everything that a run logs, and their errors do not stop it."""

import json
import socket
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from tests.trackers.offline import points
from vqpriors.trackers.base import background
from vqpriors.trackers.base.background import (
    BackgroundTracker,
    RunInfo,
    TrackingConfig,
    open_trackers,
)
from vqpriors.trackers.base.logged import Logged
from vqpriors.trackers.wandb import WandbRun

OFF = {"wandb": False, "mlflow": False, "tensorboard": False, "project": "tests"}
IMAGE = Image.fromarray(np.zeros((4, 4), np.uint8))


class FakeRun:
    """A run that records its calls; fails at the n-th call."""

    def __init__(self, failing=None):
        self.calls, self.failing = [], failing

    def _call(self, *call):
        if len(self.calls) == self.failing:
            raise OSError("the disk\nis full")
        self.calls.append(call)

    def log(self, step, values):
        self._call("log", step, values)

    def log_image(self, step, name, image):
        self._call("log_image", step, name, image)

    def close(self, summary):
        self._call("close", summary)


def send_all(tracker):
    tracker.log(1, {"train/loss": 2.0})
    tracker.log_image(1, "sheet", IMAGE)
    tracker.close({"size": 3.0})
    tracker.flush()


def test_run_gets_all_calls_in_order():
    run, warnings = FakeRun(), []
    send_all(BackgroundTracker("x", lambda: run, warn=warnings.append))
    log, log_image, close = run.calls
    assert log == ("log", 1, {"train/loss": 2.0})
    assert log_image == ("log_image", 1, "sheet", IMAGE)
    assert close == ("close", {"size": 3.0})
    assert warnings == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_failing_tracker_is_disabled_with_one_warning(failing):
    run, warnings = FakeRun(failing), []
    send_all(BackgroundTracker("x", lambda: run, warn=warnings.append))
    assert len(run.calls) == failing
    assert warnings == ["runtime.tracking.x: OSError: the disk is full; going on without it"]


def test_tracker_that_cannot_be_opened_causes_one_warning():
    warnings = []

    def closed():
        raise ConnectionError("no server")

    send_all(BackgroundTracker("x", closed, warn=warnings.append))
    assert warnings == ["runtime.tracking.x: ConnectionError: no server; going on without it"]


def test_flush_of_a_slow_tracker_times_out(monkeypatch):
    monkeypatch.setattr(background, "FLUSH_SECONDS", 0.1)
    warnings, release = [], threading.Event()

    def slow():
        release.wait()
        return FakeRun()

    tracker = BackgroundTracker("x", slow, warn=warnings.append)
    send_all(tracker)
    release.set()
    assert warnings == ["runtime.tracking.x: still busy 0 s after training; going on without it"]


def test_tracker_with_a_full_queue_is_disabled(monkeypatch):
    monkeypatch.setattr(background, "MAX_QUEUED", 3)
    warnings, release = [], threading.Event()

    def slow():
        release.wait()
        return FakeRun()

    tracker = BackgroundTracker("x", slow, warn=warnings.append)
    for step in range(6):
        tracker.log(step, {})
    release.set()
    assert warnings == ["runtime.tracking.x: 3 points wait for it; going on without it"]


def test_no_tracker_is_opened_unless_it_is_on(tmp_path):
    with open_trackers(
        TrackingConfig(**OFF), RunInfo("tests", "train_prior", tmp_path, {})
    ) as runs:
        assert runs == []


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("wandb", "wandb", "wandb"),
        ("mlflow", "mlflow", "mlflow-skinny"),
        ("tensorboard", "tensorboard", "tensorboard"),
    ],
)
def test_missing_package_is_named_in_the_warning(
    tmp_path, monkeypatch, capsys, name, module, package
):
    monkeypatch.setitem(sys.modules, module, None)
    info = RunInfo("tests", "train_prior", tmp_path, {})
    with open_trackers(TrackingConfig(**OFF | {name: True}), info) as (run,):
        send_all(run)
    assert capsys.readouterr().err == (
        f"warning: train_prior: runtime.tracking.{name}: RuntimeError: {module} is not installed "
        f"(pip install {package}); going on without it\n"
    )


def test_server_that_is_down_causes_one_warning(tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    info = RunInfo("tests", "train_prior", tmp_path, {})
    with open_trackers(TrackingConfig(**OFF | {"mlflow": True}), info) as (run,):
        send_all(run)
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if line.startswith("warning: ")]
    assert len(named) == 1
    assert named[0].startswith("warning: train_prior: runtime.tracking.mlflow: ")
    assert named[0].endswith("; going on without it")


def test_interrupted_offline_run_has_no_gap_and_no_overlap(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "FLUSH_SECONDS", 300)  # for a busy machine
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    info = RunInfo("tests", "train_prior", tmp_path, {"prior": {"arch": "lstm"}})
    tracking = TrackingConfig(**OFF | {"wandb": True})
    whole = [(step, {"train/loss": 1 / step}) for step in (20, 40, 60)]
    whole.insert(2, (40, {"validation/loss": 0.5}))
    with open_trackers(tracking, info) as (run,):
        for point in whole[:3]:
            run.log(*point)
    with open_trackers(tracking, info) as (run,):  # from a checkpoint at 20
        for point in whole:
            run.log(*point)
        run.log_image(60, "sheet", IMAGE)
        run.close({"size": 3.0})
    found = points(tmp_path)
    assert found["train/loss"] == [(20, 1 / 20), (40, 1 / 40), (60, 1 / 60)]
    assert found["validation/loss"] == [(40, 0.5)]


FIRST = [(20, "sheet"), (20, "other"), (40, "sheet")]
RESUMED = [(20, "other"), (20, "sheet"), (40, "other"), (40, "sheet"), (60, "other"), (60, "sheet")]


class HistoryRecorder:
    """The part of a run of Weights & Biases that adds to its history."""

    def __init__(self):
        self.images = []

    def log(self, values, step):
        self.images += [(step, name) for name, value in values.items() if hasattr(value, "image")]


def test_resumed_wandb_run_logs_no_image_again(tmp_path):
    id_file, history = tmp_path / "wandb.json", HistoryRecorder()
    id_file.write_text(json.dumps({"id": "a", "points": 0}))  # as written by earlier versions
    for images in (FIRST, RESUMED):
        run = WandbRun(history, Logged(id_file, run_id="b"))
        assert run.logged.run_id == "a"
        for step, sheet in images:
            run.log_image(step, sheet, IMAGE)
    assert history.images == [*FIRST, (40, "other"), (60, "other"), (60, "sheet")]


def test_resumed_mlflow_run_logs_no_image_again(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setattr(background, "FLUSH_SECONDS", 300)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.chdir(tmp_path)
    logged = []
    log_image = mlflow.MlflowClient.log_image

    def recorded(self, run_id, image, artifact_file):
        logged.append(artifact_file)
        log_image(self, run_id, image, artifact_file=artifact_file)

    monkeypatch.setattr(mlflow.MlflowClient, "log_image", recorded)
    info = RunInfo("tests", "train_prior", tmp_path, {})
    for images in (FIRST, RESUMED):
        with open_trackers(TrackingConfig(**OFF | {"mlflow": True}), info) as (run,):
            for step, sheet in images:
                run.log_image(step, sheet, IMAGE)
    steps = {"sheet": [20, 40, 60], "other": [20, 40, 60]}
    files = [f"{name}/{step:09d}.png" for name in steps for step in steps[name]]
    assert sorted(logged) == sorted(files)


def test_interrupted_tensorboard_run_has_no_gap_and_no_overlap(tmp_path, monkeypatch):
    """Read by TensorBoard's own reader."""
    monkeypatch.setattr(background, "FLUSH_SECONDS", 300)
    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "events"))
    info = RunInfo("tests", "train_prior", tmp_path, {"prior": {"arch": "lstm"}})
    tracking = TrackingConfig(**OFF | {"tensorboard": True})
    whole = [(step, {"train/loss": 1 / step}) for step in (20, 40, 60)]
    whole.insert(2, (40, {"validation/loss": 0.5}))
    for parts, images in ((whole[:3], FIRST), (whole, RESUMED)):  # from a checkpoint at 20
        with open_trackers(tracking, info) as (run,):
            for point in parts:
                run.log(*point)
            for step, name in images:
                run.log_image(step, name, IMAGE)
            if parts == whole:
                run.close({"size": 3.0})
    (folder,) = (tmp_path / "events/tests/train_prior").iterdir()
    read = event_accumulator.EventAccumulator(str(folder), {"images": 0}).Reload()
    found = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    losses = [(step, pytest.approx(1 / step)) for step in (20, 40, 60)]
    assert found == {
        "train/loss": losses,
        "validation/loss": [(40, 0.5)],
        "summary/size": [(0, 3.0)],
    }
    steps = {tag: [event.step for event in read.Images(tag)] for tag in read.Tags()["images"]}
    assert steps == {"sheet": [20, 40, 60], "other": [20, 40, 60]}
    (text,) = [tag for tag in read.Tags()["tensors"] if tag.startswith("params")]
    assert b'"arch": "lstm"' in read.Tensors(text)[0].tensor_proto.string_val[0]
