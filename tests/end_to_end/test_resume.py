"""A killed training run goes on where it stood, and ends as if nothing had happened."""

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

SECONDS = 600  # a crowded machine takes its time


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
    give_up = time.monotonic() + SECONDS
    while not any(
        int(path.name.removeprefix("step-")) >= step
        for path in folder.glob(".runs/train_prior/*/step-*")
    ):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < give_up
        time.sleep(0.002)


def trained(folder):
    """Return all that training makes, but for what the machine had to do with it."""
    files = [*folder.glob("data/prior/*"), *folder.glob("metrics/train_prior/plots/**/*.tsv")]
    summary = json.loads((folder / "metrics/train_prior/metrics.json").read_text())
    for name in ("train_minutes", "examples_per_second", "peak_memory_gb"):  # of the machine
        summary.pop(name)
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}, summary


def test_run_killed_twice_ends_as_an_uninterrupted_one(reproduced, untrained):
    for step in (3, 20):  # one in each phase
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


def test_orphan_of_a_killed_dvc_is_waited_for_and_its_work_kept(reproduced, untrained):
    process = start(untrained)
    wait_for_checkpoint(untrained, process, step=3)
    family = psutil.Process(process.pid).children(recursive=True)
    orphan = next(p for p in family if "stages.train_prior" in p.cmdline())
    process.kill()
    process.wait()
    orphan.suspend()  # it would be done before the next command has started
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_run_told_to_stop_saves_says_so_in_one_line_and_resumes(reproduced, untrained, number):
    kept = (untrained / "metrics/train_prior/metrics.json").read_bytes()
    told = run(
        untrained,
        *("python", "-m", "tests.end_to_end.signalled_stage", "train_prior", str(int(number))),
        fails=True,
    )
    assert told.returncode == EXIT_CODE == 75
    lines = [line for line in told.stderr.splitlines() if ": step " not in line]
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
    assert (untrained / "metrics/train_prior/metrics.json").read_bytes() == kept
    done = run(untrained, "python", "-m", "stages.train_prior")
    assert f"resumed at step {found[1]}\n" in done.stderr
    assert trained(untrained) == trained(reproduced.folder)
