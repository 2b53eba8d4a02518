"""The batch scripts on a real Slurm: a requeued job resumes and ends as an uninterrupted one."""

import os
import re
import shutil
import subprocess
import time
import venv

import pytest

from tests.checkout import copy_checkout, environment
from tests.end_to_end.test_resume import trained
from tests.end_to_end.test_trackers import turn_on
from tests.slurm.cluster import cluster, is_installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="slurm-wlm and munge are not installed"),
]
SECONDS = 800
MLFLOW = "mlflow==3.17.2"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def untrained(reproduced, tmp_path):
    """A copy with pictures and text encoder only, and an empty DVC cache."""
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout", forget_runs=True)
    shutil.rmtree(folder / ".dvc/cache")
    for artifact in ("prior", "samples", "tokenizer", "tokens", "judge"):
        shutil.rmtree(folder / "data" / artifact)
    return folder


def submit(slurm, folder, script, *options, arguments=(), **variables):
    """Submit a batch script with this test's Python and settings; return the job id."""
    settings = environment(folder, **slurm.environment, **variables)
    command = ["sbatch", "--parsable", "--export=ALL", *options, script, *arguments]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(slurm, folder, job):
    """Wait for a job's end; return its state, number of restarts, and log."""
    deadline = time.monotonic() + SECONDS
    log = folder / f"slurm-{job}.log"
    while True:
        shown = slurm.run("scontrol", "show", "job", job)
        state = re.search(r"JobState=(\w+)", shown)[1]
        text = log.read_text() if log.exists() else ""
        if state in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"):
            return state, int(re.search(r"Restarts=(\d+)", shown)[1]), text
        if "Reason=BeginTime" in shown:  # Slurm delays a requeued job by two minutes
            slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        assert time.monotonic() < deadline, f"{shown}\n{text}\n{slurm.logs()}"
        time.sleep(1)


def test_job_near_its_time_limit_is_requeued_and_ends_as_an_uninterrupted_run(
    slurm, reproduced, untrained
):
    # Limits are whole minutes: the warning comes half a minute after the start.
    limits = ("--time=2", "--signal=B:USR1@90", "--cpus-per-task=1", "--gpus-per-node=0")
    job = submit(slurm, untrained, "slurm/repro.sbatch", *limits)
    state, restarts, log = ended(slurm, untrained, job)
    assert (state, restarts > 0) == ("COMPLETED", True), log
    assert log.count("time limit is near; stopping and requeueing") == restarts
    assert trained(untrained) == trained(reproduced.folder)
    assert not (untrained / ".runs").exists()


def test_failed_job_is_not_requeued(slurm, untrained):
    (untrained / "params.yaml").write_text("prior: [")
    job = submit(slurm, untrained, "slurm/repro.sbatch", "--cpus-per-task=1", "--gpus-per-node=0")
    state, restarts, log = ended(slurm, untrained, job)
    assert (state, restarts) == ("FAILED", 0), log
    assert "params.yaml" in log


@pytest.mark.parametrize("script", ["one_node", "several_nodes"])
def test_launched_stage_trains_as_an_unlaunched_one(slurm, reproduced, untrained, script):
    options = ("--nodes=1", "--gpus-per-node=1", "--cpus-per-task=1")
    arguments = ("--single-item", "train_tokenizer")
    job = submit(slurm, untrained, f"slurm/{script}.sbatch", *options, arguments=arguments)
    state, _, log = ended(slurm, untrained, job)
    assert state == "COMPLETED", log
    name = "data/tokenizer/model.safetensors"
    assert (untrained / name).read_bytes() == (reproduced.folder / name).read_bytes()


def test_outside_a_job_the_error_names_sbatch(untrained):
    done = subprocess.run(
        ["slurm/run"], cwd=untrained, env=environment(untrained), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: slurm/run: SLURM_JOB_ID: not in a job; start it with sbatch\n"


@pytest.fixture(scope="module")
def mlflow_path(tmp_path_factory):
    """PATH with the programs of an environment that has MLflow's server."""
    folder = tmp_path_factory.mktemp("mlflow") / "venv"
    venv.create(folder, with_pip=True)
    command = [folder / "bin/python", "-m", "pip", "install", "--quiet", MLFLOW]
    subprocess.run(command, check=True)
    return f"{folder}/bin:{os.environ['PATH']}"


def served(slurm, folder, job):
    """Wait for the address of MLflow's server in the log of its job."""
    log, deadline = folder / f"slurm-mlflow-{job}.log", time.monotonic() + SECONDS
    while True:
        text = log.read_text() if log.exists() else ""
        if found := re.search(r"^export MLFLOW_TRACKING_URI=(http://\S+:\d+)$", text, re.MULTILINE):
            return found[1]
        assert time.monotonic() < deadline, f"{text}\n{slurm.logs()}"
        time.sleep(1)


@pytest.mark.timeout(1800)  # it installs MLflow
def test_server_of_mlflow_keeps_the_runs_of_training_jobs(slurm, untrained, mlflow_path, tmp_path):
    from mlflow import MlflowClient

    turn_on(untrained, "mlflow")
    options = ("--cpus-per-task=1",)
    variables = {"PATH": mlflow_path, "MLFLOW_STORE": str(tmp_path / "store")}

    def serve():
        return submit(slurm, untrained, "slurm/mlflow_server.sbatch", *options, **variables)

    def find_runs(address):
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("vqpriors/train_tokenizer")
        return client.search_runs([experiment.experiment_id])

    server = serve()
    address = served(slurm, untrained, server)
    job = submit(
        slurm,
        untrained,
        "slurm/repro.sbatch",
        *options,
        "--gpus-per-node=0",
        arguments=("--single-item", "train_tokenizer"),
        MLFLOW_TRACKING_URI=address,
    )
    state, _, log = ended(slurm, untrained, job)
    assert (state, "warning: " in log) == ("COMPLETED", False), log
    (before,) = find_runs(address)
    assert before.info.status == "FINISHED"
    assert before.data.metrics["validation/psnr"] > 0
    second = serve()  # with the same store, while the first one runs
    assert ended(slurm, untrained, second)[0] == "FAILED"
    assert "is in use by another server" in (untrained / f"slurm-mlflow-{second}.log").read_text()
    slurm.run("scancel", "--signal=TERM", "--batch", server)
    assert ended(slurm, untrained, server)[0] == "COMPLETED"
    third = serve()
    (after,) = find_runs(served(slurm, untrained, third))
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics == before.data.metrics
    slurm.run("scancel", third)
