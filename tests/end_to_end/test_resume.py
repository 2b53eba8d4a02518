"""A killed training run resumes from its checkpoint and ends as an uninterrupted one."""

import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest

from tests.checkout import environment, run
from vqpriors.training.interruption import EXIT_CODE

SECONDS = 600  # long enough for a busy machine


def start(folder):
    return subprocess.Popen(
        ["dvc", "repro", "train_prior"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_checkpoint(folder, process, *, step):
    """Wait until there is a checkpoint of that step or a later one."""
    deadline = time.monotonic() + SECONDS
    while not any(
        int(path.name.removeprefix("step-")) >= step
        for path in folder.glob(".runs/train_prior/*/step-*")
    ):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def trained(folder):
    """Return the outputs of training, without the numbers that depend on the machine."""
    files = [*folder.glob("data/prior/*"), *folder.glob("metrics/train_prior/plots/**/*.tsv")]
    summary = json.loads((folder / "metrics/train_prior/metrics.json").read_text())
    for name in ("train_minutes", "peak_memory_gb"):
        summary.pop(name)
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}, summary


@pytest.mark.parametrize("steps", [(20,), pytest.param((3, 20), marks=pytest.mark.slow)])
def test_killed_run_ends_as_an_uninterrupted_one(reproduced, untrained, steps):
    for step in steps:  # 3 lies in the first phase, 20 in the second
        process = start(untrained)
        wait_for_checkpoint(untrained, process, step=step)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (untrained / "data/prior").exists()
    done = run(untrained, "dvc", "repro", "train_prior")
    resumed = re.search(r"resumed at step (\d+)", done.stderr)
    assert resumed is not None
    assert int(resumed[1]) >= 20
    assert trained(untrained) == trained(reproduced.folder)
    assert not (untrained / ".runs").exists()


@pytest.mark.slow
def test_second_run_waits_for_the_orphan_of_a_killed_dvc_and_keeps_its_work(reproduced, untrained):
    process = start(untrained)
    wait_for_checkpoint(untrained, process, step=3)
    family = psutil.Process(process.pid).children(recursive=True)
    orphan = next(p for p in family if "stages.train_prior" in p.cmdline())
    process.kill()
    process.wait()
    orphan.suspend()  # or it would end before the next command has started
    try:
        refused = run(untrained, "dvc", "repro", "train_prior", fails=True)
    finally:
        orphan.resume()
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "another process is running this stage; wait for it to end or stop it" in errors[0]
    assert "Traceback" not in refused.stderr
    psutil.wait_procs([orphan], timeout=SECONDS)
    done = run(untrained, "dvc", "repro", "train_prior")
    assert "resumed at step 40" in done.stderr
    assert trained(untrained) == trained(reproduced.folder)
    assert not (untrained / ".runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_run_stopped_by_a_signal_saves_reports_one_line_and_resumes(reproduced, untrained, number):
    before = (untrained / "metrics/train_prior/metrics.json").read_bytes()
    stopped = run(
        untrained,
        *("python", "-m", "tests.end_to_end.signalled_stage", "train_prior", str(int(number))),
        fails=True,
    )
    assert stopped.returncode == EXIT_CODE == 75
    lines = [line for line in stopped.stderr.splitlines() if ": step " not in line]
    *hint, line = lines
    found = re.fullmatch(
        rf"error: train_prior: stopped by {number.name} at step (\d+); run it again to go on", line
    )
    assert found is not None, lines
    assert hint == (
        ["saving a checkpoint, then stopping; press Ctrl-C again to stop at once"]
        if number == signal.SIGINT
        else []
    )
    assert (untrained / "metrics/train_prior/metrics.json").read_bytes() == before
    done = run(untrained, "python", "-m", "stages.train_prior")
    assert f"resumed at step {found[1]}\n" in done.stderr
    assert trained(untrained) == trained(reproduced.folder)
