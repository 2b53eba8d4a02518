"""The leaderboard: which runs it has, which it ranks together, and its width."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest

from tests.imports import ROOT
from tools import leaderboard, reference, runs, tables
from tools.runs import Found, Run

README = ROOT / "README.md"
DVC_YAML = """
metrics:
- metrics/train_prior/metrics.json
- metrics/sample/metrics.json
- metrics/evaluate/metrics.json
params: [params.yaml]
"""
IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A"), ("EMAIL", "a@b.c"))
}


def measured(distance, **changes):
    """Return metrics of a run, of which the errors are 0.1."""
    shares = ("adherence", "conformity", "coverage", "recall")
    found = {"nats_per_token": 1.25, "nats_per_token_se": 0.125, "parameters": 2_000_000}
    for name in shares:
        found |= {name: 0.5, f"{name}_se": 0.125, f"{name}_real": 0.75}
    found |= {"frechet_distance": distance, "frechet_distance_se": 0.1}
    found |= {"frechet_distance_real": 0.5, "judge": "a", "num_compared": 100}
    return found | {"images_per_second": 40.0, "train_minutes": 3.0} | changes


def run_of(name, metrics, **changes):
    described = {"source": "experiment", "data": "digits", "split": "test"}
    described |= {"prior": "lstm", "text": "wordpiece"} | changes
    return Run(name=name, metrics=metrics, **described)


def ranks(found, sort="frechet_distance"):
    return [
        [(run.name, place) for run, place in group] for group in leaderboard.groups(found, sort)
    ]


def table(*found, sort="frechet_distance"):
    return leaderboard.as_table(Found(list(found)), sort)


def test_ranks_differ_only_beyond_the_errors():
    found = [run_of(name, measured(float(name))) for name in ("1.5", "1.2", "1.0")]
    assert ranks(found) == [[("1.0", "1"), ("1.2", "1"), ("1.5", "3")]]


def test_shares_are_ranked_from_the_highest():
    found = [run_of(str(share), measured(1.0, adherence=share)) for share in (0.1, 0.9)]
    assert ranks(found, "adherence") == [[("0.9", "1"), ("0.1", "2")]]


def test_nats_and_minutes_are_sorted_but_not_ranked():
    found = [run_of("slow", measured(1.0, train_minutes=9)), run_of("fast", measured(2.0))]
    assert ranks(found, "train_minutes") == [[("fast", "-"), ("slow", "-")]]


def test_runs_of_other_judges_counts_splits_and_data_have_their_own_tables():
    found = [
        run_of("own", measured(1.0)),
        run_of("judge", measured(5.0, judge="b")),
        run_of("count", measured(6.0, num_compared=50)),
        run_of("split", measured(7.0), split="validation"),
        run_of("data", measured(8.0), data="mnist"),
        run_of("none", {"nats_per_token": 1.0}),
    ]
    groups = ranks(found)
    assert sorted(groups) == [
        [(run.name, "-" if run.name == "none" else "1")]
        for run in sorted(found, key=lambda run: run.name)
    ]
    assert [group[0][0] for group in groups][-2:] == ["none", "data"]
    text = table(*found)
    assert "\ndigits, test split: 50 pictures compared, judge a\n" in text
    assert "\ndigits, validation split: 100 pictures compared, judge a\n" in text
    assert "\ndigits, test split: no judge recorded, so no ranks\n" in text


def test_row_has_values_with_errors_and_real_pictures_have_theirs():
    lines = table(run_of("a-run", measured(1.0, nats_bound_se=0.0))).splitlines()
    row, real = lines[4].split(), lines[5].split()
    assert row[:5] == ["1", "a-run", "lstm", "2.0", "<=1.250±0.125"]
    assert row[5:] == ["1.00±0.10", *["50.0±12.5"] * 4, "40", "3.0"]
    assert real == ["real", "pictures", "0.50", "75.0", "75.0", "75.0", "75.0"]


def test_real_pictures_of_two_tokenizers_have_two_rows():
    text = table(run_of("a", measured(1.0)), run_of("b", measured(2.0, coverage_real=0.25)))
    assert [line.split()[:3] for line in text.splitlines() if "real, as" in line] == [
        ["real,", "as", "a"],
        ["real,", "as", "b"],
    ]


def test_text_encoder_is_shown_if_it_varies():
    one, other = run_of("a", measured(1.0)), run_of("b", measured(2.0), text="clip")
    assert "wordpiece" not in table(one)
    assert "wordpiece" in table(one, other)
    assert "clip" in table(one, other)


@pytest.mark.parametrize("sort", ["frechet_distance", "recall", "kernel_distance"])
@pytest.mark.parametrize("length", [5, 40, 300])
def test_no_line_is_wider_than_120_columns(length, sort):
    metrics = measured(123.456, kernel_distance=0.5, kernel_distance_se=0.01, r_precision=0.5)
    metrics |= {"parameters": 1.5e9, "nats_bound_se": 0.1, "images_per_second": 12345.6}
    metrics |= {"train_minutes": 12345.6, "frechet_distance_se": 10.0}
    found = [run_of("x" * length, metrics), run_of("b", metrics, text="clip", prior="transformer")]
    lines = table(*found, sort=sort).splitlines()
    assert max(map(len, lines)) <= 120
    heads = lines[3].split()
    assert {"frechet_distance": "Frechet", "recall": "recall", "kernel_distance": "kernel"}[
        sort
    ] in heads
    assert any("no room" in line for line in lines)


def test_files_have_all_metrics_with_all_digits():
    found = Found([run_of("a", measured(1.23456789)), run_of("b", {"nats_per_token": 1.5})])
    rows = list(csv.DictReader(io.StringIO(leaderboard.as_csv(found, "frechet_distance"))))
    assert [row["frechet_distance"] for row in rows] == ["1.23456789", ""]
    loaded = json.loads(leaderboard.as_json(found, "frechet_distance"))["leaderboard"]
    assert [(row["name"], row["rank"]) for row in loaded] == [("a", "1"), ("b", "-")]
    assert loaded[0]["recall_real"] == 0.75


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make a repository with a commit, and return functions that measure and save a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "metrics/reference")
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)

    def call(*command):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    def measure(prior, metrics):
        params = f"data: {{name: digits}}\nevaluate: {{split: test}}\nprior: {{arch: {prior}}}\n"
        (tmp_path / "params.yaml").write_text(f"{params}text: {{encoder: clip}}\n")
        for stage in runs.STAGES:
            path = tmp_path / "metrics" / stage / "metrics.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            own = {name: metrics[name] for name in metrics if runs.MEASURED[name] == stage}
            path.write_text(json.dumps(own))

    def commit():
        call("git", "add", ".")
        call("git", "commit", "--quiet", "--message", "A run")

    def save(name):
        call(sys.executable, "-m", "dvc", "exp", "save", "--force", "--name", name)

    call("git", "init", "--quiet", "--initial-branch=main")
    call(sys.executable, "-m", "dvc", "init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    measure("lstm", measured(4.0))
    commit()
    return measure, save, commit


def found_runs(**options):
    found = runs.find_runs(**options)
    names = [(run.source, run.name, run.metrics["frechet_distance"]) for run in found.runs]
    return names, found.num_without_metrics


def test_experiments_commit_and_working_tree_are_found(repository):
    measure, save, _ = repository
    measure("cftn", measured(2.0))
    save("better")
    measure("cftn", {})
    save("unfinished")
    committed = [("experiment", "better", 2.0), ("commit", "main", 4.0)]
    assert found_runs() == (committed, 1)
    run = runs.find_runs().runs[0]
    assert (run.data, run.split, run.prior, run.text) == ("digits", "test", "cftn", "clip")
    measure("cftn", measured(9.0))
    assert found_runs() == ([*committed, ("workspace", "workspace", 9.0)], 1)
    assert found_runs(experiments=False) == ([("workspace", "workspace", 9.0)], 0)
    assert "Left out: 1 experiments" in leaderboard.as_table(runs.find_runs(), "recall")


def test_metrics_of_the_working_tree_belong_to_the_params_they_were_measured_with(repository):
    measure, _, _ = repository
    measure("lstm", measured(9.0))
    params = {"params.yaml": {"prior.arch": "cftn", "sample.maskgit.order": "halton"}}
    lock = {"schema": "2.0", "stages": {"train_prior": {"params": params}}}
    (runs.ROOT / "dvc.lock").write_text(json.dumps(lock))
    run = runs.find_runs(experiments=False).runs[0]
    assert (run.data, run.prior) == ("digits", "cftn")


def test_params_that_are_not_yaml_are_named(repository, monkeypatch):
    (runs.ROOT / "params.yaml").write_text("a: [")
    monkeypatch.setattr(sys, "argv", ["leaderboard", "--no-experiments"])
    with pytest.raises(SystemExit, match=r"^error: leaderboard: params\.yaml: not YAML"):
        leaderboard.main()


def test_experiments_of_other_commits_are_found_on_request(repository):
    measure, save, commit = repository
    measure("cftn", measured(2.0))
    save("earlier")
    measure("lstm", measured(3.0))
    commit()
    assert found_runs()[0] == [("commit", "main", 3.0)]
    names = [name for _, name, _ in found_runs(all_commits=True)[0]]
    assert names[:2] == ["earlier", "main"]
    assert len(names) == 3


def test_command_of_the_readme_shows_what_differs_in_120_columns(repository):
    measure, save, _ = repository
    measure("transformer", measured(2.0, nats_per_token=2.5, coverage=0.25, adherence=0.25))
    save("guzzling-brass-elephant")
    block = re.search(r"^UNUSED=.*\ndvc exp show .*$", README.read_text(), re.MULTILINE)
    command = block[0].replace("dvc", f"{sys.executable} -m dvc", 1)
    variables = os.environ | {"COLUMNS": "120"}
    shown = subprocess.run(
        ["bash", "-c", command], env=variables, check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in shown.splitlines() if line.strip(" ─")]
    assert rows[0] == ["Experiment", "adherence", "frechet_distance", "prior.arch"]
    assert rows[-1][-3:] == ["0.25", "2", "transformer"]
    assert max(map(len, shown.splitlines())) <= 120


@pytest.mark.usefixtures("repository")
def test_kept_runs_are_found_once():
    for prior, distance in (("cftn", 1.0), ("lstm", 4.0)):
        for stage in runs.STAGES:
            path = reference.REFERENCE / "digits" / prior / stage / "metrics.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(measured(distance)))
        kept = {"text": "bert", "hardware": "1 x a GPU", "commit": "abc1234"}
        (path.parents[1] / reference.RUN).write_text(json.dumps(kept))
    assert found_runs()[0] == [("commit", "main", 4.0), ("reference", "reference", 1.0)]


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr(leaderboard, "find_runs", lambda **_: Found([run_of("a", measured(1.0))]))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["leaderboard", *map(str, arguments)])
        leaderboard.main()

    return call


def test_file_replaces_a_leaderboard_of_any_format(command, tmp_path):
    path = tmp_path / "runs.txt"
    texts = []
    for form in [*leaderboard.FORMATS, "table"]:
        command("--format", form, "--out", path)
        texts.append(path.read_text())
    assert len(set(texts)) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"years of work", b"\xff\xfe\x00", b"", b"data,prior,text\n"])
def test_file_replaces_no_other_file(command, tmp_path, content):
    path = tmp_path / "thesis.csv"
    path.write_bytes(content)
    with pytest.raises(
        SystemExit, match=r"^error: leaderboard: .*thesis\.csv: is there already and"
    ):
        command("--out", path)
    assert path.read_bytes() == content


def test_file_replaces_no_folder(command, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: leaderboard: .* is a folder"):
        command("--out", tmp_path)


def test_titles_of_columns_that_are_left_out_exist():
    titles = {"text", *(title for _, title, *_ in tables.METRICS)}
    assert set(tables.LEFT_OUT_FIRST) <= titles
