"""The rows that the `sample` stage draws for sheets."""

import numpy as np
import pyarrow as pa
import pytest

from tests.parts import CAPTIONS, make_parts, params_of
from vqpriors.core.arrays import StringColumn
from vqpriors.core.params import Params
from vqpriors.data.tokens import TokenSet
from vqpriors.inference.editing import edit_mask
from vqpriors.inference.settings import SamplingOptions
from vqpriors.inference.stage_sampler import load_stage_sampler, size_of_comparison

CHANGES = {"sample__sheet_temperatures": [0.5, 9.0, 0.5]}


@pytest.fixture(scope="module", params=["transformer", "cftn"])
def sampler(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "data"
    make_parts(folder, request.param)
    return load_stage_sampler(folder, Params(params_of(request.param, **CHANGES)), seed=3)


def split_of(sampler):
    spec = sampler.generator.spec
    codes = np.arange(3 * spec.length).reshape(3, -1) % spec.codebook_size
    texts = StringColumn(pa.chunked_array([CAPTIONS]))
    return TokenSet(spec, texts, texts, codes.astype(np.uint16))


@pytest.fixture(scope="module")
def split(sampler):
    return split_of(sampler)


@pytest.fixture(scope="module")
def rows(sampler, split):
    return sampler.sample_sheets(split, [*CAPTIONS, *CAPTIONS])


def codes_of(rows, sheet, condition):
    return [row.codes for row in rows if (row.sheet, row.condition) == (sheet, condition)]


def test_sheets_repeat_the_first_distinct_prompts(sampler, rows):
    shown = [c for c in CAPTIONS[:2] for _ in range(sampler.config.sheet_per_prompt)]
    assert [row.caption for row in rows if row.sheet == "samples"] == shown
    assert [row.caption for row in rows if row.sheet == "temperatures"] == [*shown, *shown]


def test_codes_are_drawn_at_the_temperature_of_their_condition(sampler, rows):
    shown = [row.caption for row in rows if row.sheet == "samples"]
    own = sampler.generator.sampler.config.temperature
    for sheet, value in (("samples", own), ("temperatures", 0.5), ("temperatures", 9.0)):
        drawn = sampler.sample_codes(shown, purpose="sheet", temperature=value)
        assert codes_of(rows, sheet, f"temperature {value}") == drawn.tolist()
    assert codes_of(rows, "temperatures", "temperature 0.5") != codes_of(
        rows, "temperatures", "temperature 9.0"
    )


def test_samples_are_drawn_at_the_temperature_of_the_latent_where_it_is_used(tmp_path):
    changes = {"sample__steps": 1, "sample__maskgit__latent_temperature": 0.0}
    make_parts(tmp_path / "data", "cftn2", **changes)
    params = Params(params_of("cftn2", **changes))
    sampler = load_stage_sampler(tmp_path / "data", params, seed=3)
    rows = sampler.sample_sheets(split_of(sampler), CAPTIONS)
    shown = [row.caption for row in rows if row.sheet == "samples"]
    drawn = sampler.sample_codes(shown, purpose="sheet").tolist()
    assert codes_of(rows, "samples", "temperature 0.0") == drawn
    assert codes_of(rows, "temperatures", "temperature 1.5") != drawn


def test_edits_keep_the_codes_of_their_mask(sampler, rows, split):
    spec, found = sampler.generator.spec, [row for row in rows if row.sheet == "edits"]
    edits = sampler.generator.sampler.module.EDITS
    assert list(dict.fromkeys(row.condition for row in found)) == list(edits)
    for edit in edits:
        own = [row for row in found if row.condition == edit]
        keep = edit_mask(edit, spec.rows, spec.columns, count=2, seed=3)
        assert [row.keep for row in own] == keep.tolist()
        drawn = np.array([row.codes for row in own])
        assert (drawn[keep] == split.codes[:2][keep]).all()


def test_options_and_the_seed_of_the_stage_reach_the_sampler(sampler):
    generator = sampler.generator
    steps = 1 if generator.has_steps else None
    for temperature in (None, 0.0, 9.0):
        found = sampler.sample_codes(CAPTIONS, purpose="x", steps=1, temperature=temperature)
        options = SamplingOptions(steps=steps, temperature=temperature, seed=3)
        expected = generator.sample_codes(CAPTIONS, options, purpose="x")
        np.testing.assert_array_equal(found, expected)


def test_timed_pictures_are_drawn_in_the_given_steps(sampler):
    codes, pixels, seconds = sampler.sample_timed(CAPTIONS, purpose="x", steps=1)
    np.testing.assert_array_equal(codes, sampler.sample_codes(CAPTIONS, purpose="x", steps=1))
    np.testing.assert_array_equal(pixels, sampler.generator.decode(codes))
    differs = (codes != sampler.sample_codes(CAPTIONS, purpose="x", steps=4)).any()
    assert differs == sampler.generator.has_steps
    assert seconds > 1e-6


@pytest.mark.parametrize(
    ("tflop", "guidance", "expected"),
    [(1e-6, 1.0, 2), (1e-6, 2.0, 1), (1e-9, 1.0, 1), (1.0, 1.0, 7)],
)
def test_compared_pictures_keep_to_the_budget(sampler, tflop, guidance, expected):
    """10 passes over 4 codes with 5,000 parameters take 0.4 million operations a picture."""
    changes = {"compared_tflop": tflop, "guidance": guidance, "compared_pictures": 7}
    config = sampler.config.model_copy(update=changes)
    factor = 2 if guidance == 2 else 1
    count, used = size_of_comparison(config, passes=10, parameters=5000, codes=4)
    assert count == expected
    assert used == pytest.approx(expected * 0.4e-6 * factor)


def test_nothing_to_compare_costs_nothing(sampler):
    found = size_of_comparison(sampler.config, passes=0, parameters=5000, codes=4)
    assert found == (0, 0.0)


def test_compared_pictures_cost_all_passes_of_a_masked_prior_and_one_of_a_stepwise_one(sampler):
    generator = sampler.generator
    passes = sum(sampler.compared_steps) if generator.has_steps else 1
    parameters = sum(weight.numel() for weight in generator.prior.parameters())
    expected, _ = size_of_comparison(
        sampler.config, passes=passes, parameters=parameters, codes=generator.spec.length
    )
    assert sampler.compared_pictures == expected


def test_other_params_draw_as_if_loaded_with_them(sampler):
    arch = sampler.generator.arch
    kind = sampler.generator.sampler.name
    params = Params(params_of(arch, **CHANGES, sample__guidance=3.0))
    params.values["sample"][kind]["temperature"] = 9.0
    loaded = load_stage_sampler(sampler.generator.folder, params, seed=3)
    changed = sampler.with_params(params)
    assert changed.generator.prior is sampler.generator.prior
    found = [each.sample_codes(CAPTIONS, purpose="x") for each in (changed, loaded, sampler)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
