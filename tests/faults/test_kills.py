"""A stage killed anywhere leaves its old artifacts unchanged, and its next run completes."""

import shutil
import signal

import pytest

from tests.checkout import contents, copy_checkout, tiny_params
from tests.faults.stage import declared_params, run_stage
from tests.training.killing import Points, in_child
from vqpriors.core.artifact import verify

MADE = {
    "download": "data/images",
    "encode": "data/tokens",
    "prepare_text": "data/text",
    "sample": "data/samples",
    "evaluate": None,
}
POINTS = 5
TIMED = ("metrics/sample/",)  # contains seconds, and so differs each time


@pytest.fixture
def checkout(reproduced, tmp_path, monkeypatch):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


def results(folder):
    """Return the contents of a checkout without unfinished files and measured seconds."""
    return {
        name: value
        for name, value in contents(folder).items()
        if "/.tmp-" not in name and not name.startswith((".runs/", *TIMED))
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", MADE)
def test_killed_stage_leaves_old_artifacts_and_runs_again(checkout, monkeypatch, stage):
    params = declared_params(stage, tiny_params())
    before, points = results(checkout), checkout / "points"

    def count():
        watching = Points(fatal=None)
        watching.watch()
        assert run_stage(stage, params, monkeypatch).code == 0
        points.write_text(str(len(watching.passed)))

    assert in_child(count) == 0
    whole = int(points.read_text())
    points.unlink()
    assert results(checkout) == before, "the stage is not deterministic"
    for place in range(POINTS):
        fatal = place * (whole - 1) // (POINTS - 1)
        shutil.rmtree(checkout / ".runs", ignore_errors=True)  # or there would be fewer points

        def die(fatal=fatal):
            Points(fatal).watch()
            run_stage(stage, params, monkeypatch)

        assert in_child(die) == -signal.SIGKILL
        assert results(checkout) == before, "old artifacts are gone or half-written"
        if MADE[stage]:
            verify(checkout / MADE[stage])
    assert run_stage(stage, params, monkeypatch).code == 0
    assert results(checkout) == before
    assert not (checkout / ".runs").exists()
