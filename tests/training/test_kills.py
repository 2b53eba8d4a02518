"""A run killed before or after any file operation resumes and ends as an uninterrupted one."""

import json
import signal
from functools import partial

import pytest

from tests.training.killing import Points, in_child
from tests.training.test_resume import RUNS, assert_same, attempt

POINTS = 24  # of some hundreds, spread evenly from the first to the last
SHORT = (0, 9, 18)  # of these; the others take long together
PLACES = [
    place if place in SHORT else pytest.param(place, marks=pytest.mark.slow)
    for place in range(POINTS)
]


@pytest.fixture(scope="module", params=RUNS)
def uninterrupted(request, tmp_path_factory):
    """A function that makes the run, its results, and how many points it passes."""
    folder, make = tmp_path_factory.mktemp(request.param), RUNS[request.param]
    whole = attempt(make, folder / "whole")  # first, since forked children inherit one-time setup
    (folder / "counted").mkdir()

    def count():
        points = Points(fatal=None)
        points.watch()
        attempt(make, folder / "counted")
        (folder / "points.json").write_text(json.dumps(points.passed))

    assert in_child(count) == 0
    points = json.loads((folder / "points.json").read_text())
    assert {f"{when} {act}" for when in ("before", "after") for act in ("fsync", "rename")} < set(
        points
    )
    assert "after rmtree" in points
    return make, whole, len(points)


@pytest.mark.parametrize("place", PLACES)
def test_killed_run_ends_as_an_uninterrupted_one(uninterrupted, tmp_path, place):
    make, expected, count = uninterrupted
    fatal = round(place * (count - 1) / (POINTS - 1))

    def die():
        Points(fatal).watch()
        attempt(make, tmp_path)

    assert in_child(die) == -signal.SIGKILL
    assert_same(attempt(make, tmp_path), expected)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.slow
def test_run_killed_at_one_point_after_another_ends_the_same(uninterrupted, tmp_path):
    """Each attempt starts from the files of the previous one and dies later."""
    make, expected, count = uninterrupted

    def die(fatal):
        Points(fatal).watch()
        attempt(make, tmp_path)

    for fatal in range(5, count, 97):
        assert in_child(partial(die, fatal)) in (-signal.SIGKILL, 0)
    assert_same(attempt(make, tmp_path), expected)
