"""Trackers record an interrupted run completely and do not change it."""

import csv
import signal
import socket
import subprocess
import time
import urllib.request
import venv
from contextlib import suppress

import numpy as np
import pytest
from dvc.utils.serialize import dump_yaml, load_yaml
from tensorboard.backend.event_processing import event_accumulator

from tests.checkout import run, set_value
from tests.end_to_end.test_resume import trained
from tests.trackers.offline import points

SECONDS = 120  # for a server to start on a busy machine


def turn_on(folder, *names):
    params = load_yaml(str(folder / "params.yaml"))
    for name in names:
        set_value(params, f"runtime.tracking.{name}", True)
    dump_yaml(str(folder / "params.yaml"), params)


def train_with_an_interruption(folder, **variables):
    """Train the prior, interrupted once; return the stderr of both runs."""
    module = "tests.end_to_end.signalled_stage"
    command = ("python", "-m", module, "train_prior", str(int(signal.SIGTERM)))
    first = run(folder, *command, fails=True, **variables)
    assert first.returncode == 75
    second = run(folder, "python", "-m", "stages.train_prior", **variables)
    assert "resumed at step" in second.stderr
    return first.stderr, second.stderr


def curves(folder):
    """Return DVC's curves by the names that trackers give them."""
    root = folder / "metrics/train_prior/plots/metrics"
    found = {}
    for path in root.rglob("*.tsv"):
        name = path.relative_to(root).with_suffix("").as_posix()
        with path.open() as file:
            found[name] = [
                (int(row["step"]), float(row[path.stem]))
                for row in csv.DictReader(file, delimiter="\t")
            ]
    return found


def scalars(folder):
    """Return the curves of the only run of TensorBoard below a folder, by its own reader."""
    (run_folder,) = folder.glob("vqpriors/train_prior/*")
    read = event_accumulator.EventAccumulator(str(run_folder), {"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_interrupted_run_is_tracked_completely_while_another_server_is_down(reproduced, untrained):
    turn_on(untrained, "wandb", "mlflow", "tensorboard")
    errors = train_with_an_interruption(
        untrained,
        WANDB_MODE="offline",
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
    )
    for stderr in errors:
        warned = [line for line in stderr.splitlines() if line.startswith("warning: ")]
        assert len(warned) == 1
        assert warned[0].startswith("warning: train_prior: runtime.tracking.mlflow: ")
        assert "Traceback" not in stderr
    assert trained(untrained) == trained(reproduced.folder)
    tracked = points(untrained / "wandb")
    expected = curves(untrained)
    assert len(expected) > 5
    assert {name: tracked[name] for name in expected} == expected
    read = scalars(untrained / "tensorboard")
    for name, points_of_name in expected.items():
        assert read[name] == [(step, float(np.float32(value))) for step, value in points_of_name]
    assert not (untrained / ".runs").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server; its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "mlflow==3.17.2"], check=True)
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=-3)
    deadline = time.monotonic() + SECONDS
    try:
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{address}/health") as answer:
                assert answer.status == 200
                break
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_interrupted_run_is_complete_on_a_real_server(reproduced, untrained, server, monkeypatch):
    from mlflow import MlflowClient

    turn_on(untrained, "mlflow")
    for stderr in train_with_an_interruption(untrained, MLFLOW_TRACKING_URI=server):
        assert not [line for line in stderr.splitlines() if line.startswith("warning: ")]
    assert trained(untrained) == trained(reproduced.folder)
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("vqpriors/train_prior")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["prior.arch"] == "transformer"
    for name, expected in curves(untrained).items():
        history = client.get_metric_history(found.info.run_id, name)
        assert sorted((point.step, point.value) for point in history) == expected
    sheets = client.list_artifacts(found.info.run_id, "inpainting")
    assert len(sheets) == len(curves(untrained)["validation/inpainting_psnr"])
