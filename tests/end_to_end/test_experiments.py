"""`dvc exp run`: which stages an experiment reruns, its cache, and the code that it runs."""

import csv
import io
import json

import pytest

from tests.checkout import copy_checkout, ran, run

pytestmark = pytest.mark.slow  # test_priors.py has an experiment that `make test` runs
METRICS = "metrics/evaluate/metrics.json"


@pytest.fixture(scope="module")
def experiments(reproduced, tmp_path_factory):
    """A copy in which three experiments ran, one after the other, and the output of each."""
    folder = copy_checkout(reproduced.folder, tmp_path_factory.mktemp("experiments") / "checkout")
    changes = {
        "guided": "sample.guidance=3.0",
        "dropped": "prior.caption_dropout=0.3",
        "back": "prior.caption_dropout=0.1",
    }
    printed = {
        name: run(folder, "dvc", "exp", "run", "--name", name, "-S", change).stdout
        for name, change in changes.items()
    }
    return folder, printed


@pytest.fixture(scope="module")
def decoy(tmp_path_factory):
    """A folder with a package of the same name that can't be imported."""
    folder = tmp_path_factory.mktemp("decoy")
    (folder / "vqpriors").mkdir()
    (folder / "vqpriors/__init__.py").write_text('raise ImportError("the decoy was imported")\n')
    return folder


def test_change_of_sampling_reruns_no_training(experiments):
    assert ran(experiments[1]["guided"]) == ["sample", "evaluate"]


def test_change_of_the_prior_reruns_no_tokenizer(experiments):
    assert ran(experiments[1]["dropped"]) == ["train_prior", "sample", "evaluate"]


def test_earlier_params_come_from_the_run_cache(experiments):
    printed = experiments[1]["back"]
    assert ran(printed) == []
    for stage in ("train_prior", "sample", "evaluate"):
        assert f"Stage '{stage}' is cached - skipping run" in printed


def test_metrics_diff_compares_experiments(experiments):
    folder, _ = experiments
    diff = run(folder, "dvc", "metrics", "diff", "--json", "HEAD", "dropped").stdout
    change = json.loads(diff)[METRICS]["nats_per_token"]
    assert change["diff"] == pytest.approx(change["new"] - change["old"])
    assert change["diff"] != 0


def test_params_diff_shows_what_an_experiment_changed(experiments):
    folder, _ = experiments
    diff = json.loads(run(folder, "dvc", "params", "diff", "--json", "HEAD", "dropped").stdout)
    change = diff["params.yaml"]["prior.caption_dropout"]
    assert (change["old"], change["new"]) == (0.1, 0.3)


def test_experiments_show_as_rows_of_metrics_and_params(experiments):
    folder, _ = experiments
    table = run(folder, "dvc", "exp", "show", "--csv").stdout
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(table))}
    assert rows.keys() >= {"guided", "dropped", "back"}
    assert float(rows["guided"]["sample.guidance"]) == 3.0
    assert float(rows["dropped"]["nats_per_token"]) > 0
    assert json.loads(run(folder, "dvc", "exp", "show", "--json").stdout)


def test_queued_experiment_runs_the_code_of_its_queueing_not_edited_or_installed_code(
    experiments, decoy
):
    folder, _ = experiments
    module = folder / "src/vqpriors/sampling/autoregressive.py"
    source = module.read_text()
    module.write_text(source.replace('"""', '"""Queued. ', 1) + 'print("code as queued")\n')
    run(folder, "dvc", "exp", "run", "--queue", "--name", "queued", "-S", "sample.guidance=4.0")
    module.write_text(f'{source}raise RuntimeError("code after queueing")\n')
    done = run(folder, "dvc", "exp", "run", "--run-all", PYTHONPATH=str(decoy))
    module.write_text(source)
    logs = run(folder, "dvc", "queue", "logs", "queued").stdout
    assert ran(logs) == ["sample", "evaluate"], done.stdout
    assert "code as queued" in logs
