"""The comparison of sampling settings on the validation split."""

from pathlib import Path

import pytest

from tests.checkout import tiny_params
from tests.faults.stage import declared_params
from tools import tune_sampling
from vqpriors.core.params import Params
from vqpriors.evaluation import adherence, classes, conformity, coverage, variety
from vqpriors.evaluation.base.inputs import Inputs


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    params = Params(declared_params("sample", tiny_params()))
    monkeypatch.setattr(tune_sampling, "read_params", lambda _: params)


def inputs_of(split):
    return Inputs(
        Path("data"),
        split=split,
        batch_size=50,
        bound_samples=2,
        bootstrap_samples=2,
        reliable_accuracy=0.9,
        seed=0,
    )


def test_best_setting_has_the_highest_worst_class_among_those_with_enough_coverage():
    found = [(0.99, 0.9, 0.75), (0.9, 0.6, 0.9), (0.8, 0.7, 0.77), (0.8, 0.7, 0.78)]
    rows = [
        {"conformity": a, "conformity_worst": b, "coverage": c, "coverage_real": 0.8}
        for a, b, c in found
    ]
    assert tune_sampling.best_row(rows) == 3
    for row in rows:
        del row["conformity_worst"]
    assert tune_sampling.best_row(rows) == 1
    assert tune_sampling.best_row([row | {"coverage_real": 0.99} for row in rows]) == 1


def test_other_samples_are_measured_as_those_of_the_run(checkout):
    inputs = inputs_of("test")
    same = inputs.with_samples(inputs.prompts, pixels=inputs.drawn, codes=inputs.drawn_codes)
    for module in (adherence, classes, conformity, coverage, variety):
        found = module.measure(same)
        assert found == module.measure(inputs)
        assert found
    rows = [inputs.real.ids.index(prompt.id) for prompt in inputs.prompts]
    real = inputs.with_samples(
        inputs.prompts, pixels=inputs.real.pixels[rows], codes=inputs.tokens.codes[rows]
    )
    assert adherence.measure(real)["adherence"] == adherence.measure(inputs)["judge_accuracy"]
    assert conformity.measure(real) != conformity.measure(inputs)


def test_each_setting_is_drawn_from_captions_of_the_validation_split(checkout, monkeypatch, capsys):
    drawn = []
    measure = tune_sampling.measure

    def recorded(sampler, inputs, *, num_pictures):
        drawn.append((inputs.split, sampler.config.guidance, num_pictures))
        return measure(sampler, inputs, num_pictures=num_pictures)

    monkeypatch.setattr(tune_sampling, "measure", recorded)
    tune_sampling.tune({"sample.guidance": [1.0, 3.0]}, num_pictures=60)
    assert drawn == [("validation", 1.0, 60), ("validation", 3.0, 60)]
    header, *rows, real, best = capsys.readouterr().out.splitlines()
    assert header.split() == ["guidance", *tune_sampling.COLUMNS]
    assert [row.split()[0] for row in rows] == ["1.000", "3.000"]
    assert len(real.split()) == 5
    assert best in {f"best: -S sample.guidance={value}" for value in (1.0, 3.0)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sample.guidance", "expected sample.KEY=VALUE,VALUE"),
        ("prior.arch=cftn", "expected sample.KEY=VALUE,VALUE"),
        ("sample.guidance=[", "not valid YAML"),
    ],
)
def test_unreadable_values_are_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        tune_sampling.parse_values(text)


def test_unknown_key_is_refused(checkout):
    with pytest.raises(ValueError, match=r"sample\.gidance: missing"):
        tune_sampling.tune({"sample.gidance": [1.0]}, num_pictures=60)


def test_key_of_another_sampler_is_refused(checkout):
    with pytest.raises(ValueError, match=r"^-S sample\.maskgit\.temperature: not used, .*autoreg"):
        tune_sampling.tune({"sample.maskgit.temperature": [1.0]}, num_pictures=60)


def test_cells_show_zero_and_leave_unknown_values_empty():
    row = {"top_k": 0, "coverage": 0.0, "adherence": None}
    assert list(tune_sampling.cells(row, [*row])) == ["    0", "   0.000", "         "]


def test_too_few_pictures_are_refused(checkout):
    with pytest.raises(ValueError, match="needs 50 pictures of the validation split, got 49"):
        tune_sampling.tune({"sample.guidance": [1.0]}, num_pictures=49)
