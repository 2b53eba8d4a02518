"""`dvc exp run -S prior.arch=...`: every kind of prior in the same chain."""

import csv
import json
from dataclasses import dataclass

import pytest
from PIL import Image

from tests.checkout import contents, copy_checkout, ran, run

RERUN = ["train_prior", "sample", "evaluate"]
CURVES = "metrics/train_prior/plots/metrics"
SHEETS = ("metrics/evaluate/edits.png", "metrics/train_prior/inpainting.png")


@dataclass(frozen=True)
class Experiment:
    """Output and results of one experiment.

    Attributes:
        stdout: DVC's messages.
        stderr: Its warnings and progress.
        metrics: The numbers of `evaluate`.
        steps: Rows of `steps.tsv`.
        sheets: Size of each sheet.
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
def folder(reproduced, tmp_path_factory):
    """A copy in which experiments run."""
    return copy_checkout(reproduced.folder, tmp_path_factory.mktemp("priors") / "checkout")


def experiment(folder, arch):
    done = run(folder, "dvc", "exp", "run", "--name", arch, "-S", f"prior.arch={arch}")
    return observe(folder, done)


@pytest.fixture(scope="module")
def cftn2(folder):
    """The experiment of `make test`: a masked prior that also writes captions."""
    return experiment(folder, "cftn2")


@pytest.fixture(scope="module")
def experiments(folder, cftn2):
    """One experiment for each kind, the transformer a second time and last."""
    return {
        "cftn2": cftn2,
        "cftn": experiment(folder, "cftn"),
        "transformer": experiment(folder, "transformer"),
    }


def test_change_of_the_kind_reruns_only_what_depends_on_it(cftn2):
    assert ran(cftn2.stdout) == RERUN


def test_stages_do_not_warn(cftn2):
    assert "Warning" not in cftn2.stderr


def test_quality_by_steps_has_a_row_each(cftn2):
    assert_rows(cftn2.steps, ["1", "3"])


def assert_rows(rows, steps):
    assert [row["steps"] for row in rows] == steps
    for row in rows:
        assert row.keys() == {"steps", "adherence", "frechet_distance"}
        assert 0 <= float(row["adherence"]) <= 1


def test_bound_has_a_standard_error(cftn2):
    assert cftn2.metrics["nats_bound_se"] > 0


def test_captioner_is_measured_by_its_captions(cftn2):
    names = ["caption_accuracy", "caption_exact", "caption_accuracy_color"]
    assert all(0 <= cftn2.metrics[name] <= 1 for name in names)


def test_sheets_of_edits_and_of_completed_halves_are_there(cftn2):
    assert_sheets(cftn2.sheets)


def assert_sheets(sheets):
    assert sheets.keys() == {*SHEETS}
    assert all(min(size) > 28 for size in sheets.values())


def test_gates_and_accuracies_are_curves(cftn2):
    names = {"gate_to_image_0", "gate_to_text_0", "visual_accuracy", "caption_accuracy"}
    assert {f"train/{name}.tsv" for name in names} <= cftn2.curves
    for name in ("visual_accuracy", "caption_accuracy"):
        assert f"validation/{name}.tsv" in cftn2.curves


@pytest.mark.slow
def test_other_kinds_go_through_the_same_chain(experiments):
    cftn, transformer = experiments["cftn"], experiments["transformer"]
    assert ran(cftn.stdout) == RERUN
    assert "Warning" not in cftn.stderr
    assert_rows(cftn.steps, ["1", "3"])
    assert_rows(transformer.steps, ["49"])
    assert cftn.metrics["nats_bound_se"] > 0
    assert transformer.metrics["nats_bound_se"] == 0
    for each in (cftn, transformer):
        assert not any(name.startswith("caption") for name in each.metrics)
        assert_sheets(each.sheets)


@pytest.mark.slow
def test_kind_that_was_trained_before_comes_from_the_run_cache(experiments):
    printed = experiments["transformer"].stdout
    assert ran(printed) == []
    assert all(f"Stage '{stage}' is cached - skipping run" in printed for stage in RERUN)


@pytest.mark.slow
def test_masked_prior_makes_more_edits_than_a_stepwise_one(experiments):
    heights = {arch: each.sheets[SHEETS[0]][1] for arch, each in experiments.items()}
    assert heights["cftn"] == heights["cftn2"] > heights["transformer"]


@pytest.mark.slow
def test_each_kind_draws_its_own_pictures(experiments):
    tables = {each.drawn["data/samples/samples.parquet"] for each in experiments.values()}
    assert len(tables) == 3


@pytest.mark.slow
def test_written_captions_are_in_the_samples(experiments):
    drawn = {
        arch: each.drawn["data/samples/captions.parquet"] for arch, each in experiments.items()
    }
    assert drawn["cftn"] == drawn["transformer"] != drawn["cftn2"]


@pytest.mark.slow
def test_change_of_parallel_decoding_retrains_nothing(folder, experiments):
    run(folder, "dvc", "exp", "apply", "cftn2")
    done = run(folder, "dvc", "exp", "run", "-S", "sample.maskgit.order=halton")
    assert ran(done.stdout) == ["sample", "evaluate"]
    table = "data/samples/samples.parquet"
    assert observe(folder, done).drawn[table] != experiments["cftn2"].drawn[table]


@pytest.mark.slow
def test_captioner_without_captions_is_refused_in_one_line(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    changes = ("-S", "prior.arch=cftn2", "-S", "text.encoder=none")
    refused = run(folder, "dvc", "exp", "run", *changes, fails=True)
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: train_prior: text.encoder: ")
    assert "Traceback" not in refused.stderr
