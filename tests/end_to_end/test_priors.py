"""`dvc exp run -S prior.arch=...`: every kind of prior through the same chain, row by row."""

import csv
import json
from dataclasses import dataclass

import pytest
from PIL import Image

from tests.checkout import contents, copy_checkout, ran, run

RERUN = ["train_prior", "sample", "evaluate"]
MASKED = ("cftn", "cftn2")
CURVES = "metrics/train_prior/plots/metrics"
SHEETS = ("metrics/sample/edits.png", "metrics/train_prior/inpainting.png")


@dataclass(frozen=True)
class Experiment:
    """What one experiment printed and left.

    Attributes:
        stdout: What it printed.
        stderr: Its warnings and progress.
        metrics: The numbers of `evaluate`.
        steps: Rows of `steps.tsv`.
        sheets: Size of each sheet that there is.
        curves: Names of the curves of training and of validation.
        drawn: SHA-256 of each file of the samples.
    """

    stdout: str
    stderr: str
    metrics: dict[str, float]
    steps: list[dict[str, str]]
    sheets: dict[str, tuple[int, int]]
    curves: set[str]
    drawn: dict[str, str]


def observe(folder, done):
    files = contents(folder)
    sheets = {}
    for name in SHEETS:
        with Image.open(folder / name) as sheet:
            sheet.load()
            sheets[name] = sheet.size
    table = (folder / "metrics/evaluate/steps.tsv").read_text().splitlines()
    return Experiment(
        stdout=done.stdout,
        stderr=done.stderr,
        metrics=json.loads((folder / "metrics/evaluate/metrics.json").read_text()),
        steps=list(csv.DictReader(table, delimiter="\t")),
        sheets=sheets,
        curves={p.relative_to(folder / CURVES).as_posix() for p in folder.glob(f"{CURVES}/**/*")},
        drawn={name: digest for name, digest in files.items() if name.startswith("data/samples/")},
    )


@pytest.fixture(scope="module")
def laboratory(reproduced, tmp_path_factory):
    """A copy in which one kind after the other ran, the transformer last and once more."""
    folder = copy_checkout(reproduced.folder, tmp_path_factory.mktemp("priors") / "checkout")
    found = {}
    for arch in (*MASKED, "transformer"):
        done = run(folder, "dvc", "exp", "run", "--name", arch, "-S", f"prior.arch={arch}")
        found[arch] = observe(folder, done)
    return folder, found


@pytest.mark.parametrize("arch", MASKED)
def test_change_of_the_kind_reruns_what_follows_it_alone(laboratory, arch):
    assert ran(laboratory[1][arch].stdout) == RERUN


@pytest.mark.parametrize("arch", MASKED)
def test_stages_warn_of_nothing(laboratory, arch):
    assert "Warning" not in laboratory[1][arch].stderr


def test_kind_that_was_trained_before_comes_from_the_run_cache(laboratory):
    printed = laboratory[1]["transformer"].stdout
    assert ran(printed) == []
    assert all(f"Stage '{stage}' is cached - skipping run" in printed for stage in RERUN)


@pytest.mark.parametrize(("arch", "steps"), [("cftn", 2), ("cftn2", 2), ("transformer", 1)])
def test_quality_by_steps_has_a_row_each(laboratory, arch, steps):
    rows = laboratory[1][arch].steps
    assert [row["steps"] for row in rows] == {1: ["49"], 2: ["1", "3"]}[steps]
    for row in rows:
        assert row.keys() == {"steps", "adherence", "frechet_distance", "seconds_per_picture"}
        assert 0 <= float(row["adherence"]) <= 1
        assert float(row["seconds_per_picture"]) > 0


def test_bound_has_a_standard_error_and_an_exact_likelihood_none(laboratory):
    found = {arch: seen.metrics["nats_standard_error"] for arch, seen in laboratory[1].items()}
    assert found["transformer"] == 0
    assert all(found[arch] > 0 for arch in MASKED)


def test_only_a_prior_that_writes_captions_is_measured_by_them(laboratory):
    names = ["caption_accuracy", "caption_exact", "caption_accuracy_color"]
    metrics = laboratory[1]["cftn2"].metrics
    assert all(0 <= metrics[name] <= 1 for name in names)
    for arch in ("cftn", "transformer"):
        assert not any(name.startswith("caption") for name in laboratory[1][arch].metrics)


@pytest.mark.parametrize("arch", [*MASKED, "transformer"])
def test_sheets_of_edits_and_of_filled_in_halves_are_there(laboratory, arch):
    sheets = laboratory[1][arch].sheets
    assert sheets.keys() == {*SHEETS}
    assert all(min(size) > 28 for size in sheets.values())


def test_masked_prior_makes_more_edits_than_a_stepwise_one(laboratory):
    heights = {arch: seen.sheets[SHEETS[0]][1] for arch, seen in laboratory[1].items()}
    assert heights["cftn"] == heights["cftn2"] > heights["transformer"]


def test_gates_and_accuracies_are_curves(laboratory):
    curves = laboratory[1]["cftn2"].curves
    names = {"gate_to_image_0", "gate_to_text_0", "visual_accuracy", "caption_accuracy"}
    assert {f"train/{name}.tsv" for name in names} <= curves
    assert {f"validation/{name}.tsv" for name in ("visual_accuracy", "caption_accuracy")} <= curves


def test_each_kind_draws_its_own_pictures(laboratory):
    tables = {seen.drawn["data/samples/samples.parquet"] for seen in laboratory[1].values()}
    assert len(tables) == 3


def test_written_captions_are_in_the_samples(laboratory):
    drawn = {
        arch: seen.drawn["data/samples/captions.parquet"] for arch, seen in laboratory[1].items()
    }
    assert drawn["cftn"] == drawn["transformer"] != drawn["cftn2"]


def test_change_of_parallel_decoding_retrains_nothing(laboratory):
    folder, found = laboratory
    run(folder, "dvc", "exp", "apply", "cftn2")
    done = run(folder, "dvc", "exp", "run", "-S", "sample.maskgit.order=halton")
    assert ran(done.stdout) == ["sample", "evaluate"]
    table = "data/samples/samples.parquet"
    assert observe(folder, done).drawn[table] != found["cftn2"].drawn[table]


def test_captioner_without_captions_is_refused_in_one_line(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    changes = ("-S", "prior.arch=cftn2", "-S", "text.encoder=none")
    refused = run(folder, "dvc", "exp", "run", *changes, fails=True)
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: train_prior: text.encoder: ")
    assert "Traceback" not in refused.stderr
