"""Measures of drawn pictures where the truth is known."""

import numpy as np
import pytest

from tests.evaluation.known import image_set, inputs_of, pictures
from vqpriors.data.images import ImageSet
from vqpriors.data.samples import Prompt
from vqpriors.evaluation import adherence, classes, conformity, coverage, distances, variety
from vqpriors.evaluation.memorisation import measure as measure_memorisation

REAL = image_set(pictures(200, seed=1), prefix="real")
LIKE_REAL = pictures(200, seed=7)  # of the same distribution, in the order of REAL's captions


def test_pictures_of_what_was_asked_adhere():
    found = adherence.measure(inputs_of(drawn=LIKE_REAL))
    assert found == {
        "adherence": 1.0,
        "adherence_seen": 1.0,
        "adherence_se": 0.0,
        "adherence_tone": 1.0,
        "adherence_real": 1.0,
        "judge_accuracy": 1.0,
    }


def test_adherence_is_of_drawn_pictures_and_their_own_prompts():
    drawn = pictures(200, seed=7, tone="light")  # right for every second prompt
    found = adherence.measure(inputs_of(drawn=drawn))
    assert found["adherence"] == 0.5
    assert found["adherence_real"] == found["judge_accuracy"] == 1.0
    assert found["adherence_se"] == pytest.approx(0.5 / np.sqrt(199))


def test_attributes_that_no_caption_names_are_not_asked_for():
    real = image_set(pictures(200, seed=1), prefix="real")
    silent = ["a picture", "a Light picture"] * 100
    real = ImageSet(real.ids, real.groups, real.pixels, silent, real.labels, real.attributes)
    found = adherence.measure(inputs_of(drawn=pictures(200, seed=7, tone="light"), real=real))
    assert found["adherence"] == found["adherence_real"] == 1.0
    assert found["adherence_se"] == 0.0
    drawn = inputs_of(drawn=LIKE_REAL, real=real)
    assert drawn.requested(drawn.prompts)[:2] == [{}, {"tone": "light"}]
    assert classes.measure(drawn) == {}
    assert conformity.measure(drawn)["conformity"] == pytest.approx(0.9, abs=0.1)


def test_prior_without_text_is_not_asked_for_attributes():
    inputs = inputs_of(drawn=LIKE_REAL, reads_text=False)
    assert adherence.measure(inputs).keys() == {"judge_accuracy"}
    assert set(inputs.labels(inputs.prompts)) == {None}
    assert any(line.startswith("adherence: left out") for line in inputs.left_out)
    assert conformity.measure(inputs)["conformity"] == pytest.approx(0.9, abs=0.1)


def test_judge_that_is_wrong_is_marked():
    found = adherence.measure(inputs_of(drawn=LIKE_REAL, is_wrong=True))
    assert found["adherence"] == found["judge_accuracy"] == 0
    assert found["unreliable_attributes"] == "tone"


def test_error_of_several_draws_is_over_their_prompts():
    rows = [row for row in range(100) for _ in range(3)]
    drawn = np.repeat(pictures(100, seed=7), 3, axis=0)
    wrong = drawn.copy()
    wrong[:30] = 255 - wrong[:30]  # all three draws of ten prompts
    found = adherence.measure(inputs_of(drawn=wrong, rows=rows))
    assert found["adherence"] == pytest.approx(0.9)
    assert found["adherence_se"] == pytest.approx(0.3 / np.sqrt(99))


def test_worst_class_is_named():
    drawn = LIKE_REAL.copy()
    drawn[1:40:2] = 0  # 20 of 100 light prompts
    found = classes.measure(inputs_of(drawn=drawn))
    assert (found["adherence_worst_class"], found["adherence_worst"]) == ("light", 0.8)
    assert found["conformity_worst_class"] == "light"
    table = classes.table(inputs_of(drawn=drawn)).set_index("class")
    assert table.loc["dark", "adherence"] == table.loc["light", "adherence_real"] == 1
    assert table["pictures"].tolist() == [100, 100]


def test_folds_never_compare_a_picture_with_its_own_group():
    real = image_set(
        pictures(200, seed=1), groups=[f"g{row // 4}" for row in range(200)], prefix="real"
    )
    inputs = inputs_of(
        drawn=np.repeat(LIKE_REAL, 2, axis=0),
        real=real,
        rows=[row for row in range(200) for _ in range(2)],
    )
    groups = np.array(real.groups)
    assert len(inputs.folds) == 2
    for fold in inputs.folds:
        assert not set(groups[fold.reference]) & set(groups[fold.floor])
        assert len(fold.drawn) == 2
        for number, rows in enumerate(fold.drawn):
            assert [inputs.prompts[row].id for row in rows] == [real.ids[row] for row in fold.floor]
            assert (rows % 2 == number).all()
    assert sorted(np.concatenate([f.reference for f in inputs.folds])) == list(range(200))
    sizes = [len(fold.reference) for fold in inputs.folds]
    assert abs(sizes[0] - sizes[1]) <= 4


def test_distances_of_the_same_distribution_are_those_of_real_pictures():
    found = distances.measure(inputs_of(drawn=LIKE_REAL))
    for name in ("frechet_distance", "kernel_distance"):
        difference = abs(found[name] - found[f"{name}_real"])
        assert 0 < difference < 3 * found[f"{name}_se"]
    assert abs(found["kernel_distance_real"]) < 0.05


def test_copies_of_the_real_pictures_have_the_floor_not_zero():
    found = distances.measure(inputs_of(drawn=REAL.pixels))
    assert found["frechet_distance"] == found["frechet_distance_real"] > 0
    assert found["frechet_distance_se"] == found["kernel_distance_se"] == 0


def test_distances_of_another_distribution_exceed_the_floor():
    found = distances.measure(inputs_of(drawn=pictures(200, seed=7, tone="light")))
    for name in ("frechet_distance", "kernel_distance"):
        assert found[name] - found[f"{name}_real"] > 5 * found[f"{name}_se"]


def test_coverage_and_recall_of_the_same_distribution_are_those_of_real_pictures():
    found = coverage.measure(inputs_of(drawn=LIKE_REAL))
    for name in ("coverage", "recall"):
        assert found[name] == pytest.approx(found[f"{name}_real"], abs=3 * found[f"{name}_se"])
        assert found[name] > 0.8


def test_one_picture_for_all_captions_covers_nothing():
    found = coverage.measure(inputs_of(drawn=np.repeat(LIKE_REAL[:1], 200, axis=0)))
    assert found["coverage"] < 0.2
    assert found["recall"] < 0.05
    assert found["recall_real"] > 0.8


def test_half_of_the_variety_has_half_of_the_recall():
    found = coverage.measure(inputs_of(drawn=pictures(200, seed=7, tone="dark")))
    assert found["recall"] == pytest.approx(0.5, abs=0.08)


def test_real_pictures_conform_as_nine_of_ten_do():
    found = conformity.measure(inputs_of(drawn=REAL.pixels))
    assert found["conformity"] == 0.9
    assert found["conformity_real"] == pytest.approx(0.9, abs=0.03)


def test_perfect_picture_of_another_class_does_not_conform():
    found = conformity.measure(
        inputs_of(drawn=LIKE_REAL[::-1].copy())
    )  # light for dark, dark for light
    assert found["conformity"] == 0


def test_picture_that_is_nothing_does_not_conform_but_adheres():
    """A light picture with one black pixel: the judge must call it light or dark."""
    drawn = pictures(200, seed=7)
    drawn[1::2, 0, 0, 0] = 0
    found = inputs_of(drawn=drawn)
    assert adherence.measure(found)["adherence"] > 0.9
    assert classes.table(found).set_index("class").loc["light", "conformity"] < 0.1


def test_variety_matches_hand_computed_value():
    captions = ["a", "a", "b", "a"]
    pixels = np.array([0, 51, 7, 51], np.uint8).reshape(4, 1, 1, 1)
    codes = np.array([[1], [2], [1], [2]])
    found = variety.variety(captions, pixels, codes, seed=0)
    # pairs of "a": 0 and 51 twice, 51 and 51
    assert found == {"variety": pytest.approx(2 / 3 * 0.2), "distinct_grids": pytest.approx(2 / 3)}


def test_one_picture_per_caption_has_no_variety():
    prompts = [Prompt(str(row), "") for row in range(5)]
    inputs = inputs_of(drawn=LIKE_REAL[:5], prompts=prompts)
    assert variety.measure(inputs) == {}
    assert inputs.left_out == [
        "variety: left out: needs several pictures of a caption; raise sample.num_per_prompt"
    ]


def test_equal_draws_are_reported_as_equal():
    codes = np.repeat(np.arange(2)[:, None], 100, axis=0)
    drawn = np.repeat(LIKE_REAL[:2], 100, axis=0)
    rows = [0] * 100 + [1] * 100
    found = variety.measure(inputs_of(drawn=drawn, rows=rows, codes=codes))
    assert (found["variety"], found["distinct_grids"]) == (0, 0)
    assert found["variety_real"] > 0.1
    assert found["distinct_grids_real"] == 1


def test_copies_of_training_pictures_have_distance_zero():
    train = image_set(pictures(300, seed=2), prefix="train")
    drawn = LIKE_REAL.copy()
    drawn[:20] = train.pixels[:20]
    found = measure_memorisation(inputs_of(drawn=drawn, train=train))
    assert found["nearest_train_distance_low"] == 0
    assert 0 < found["nearest_train_distance"] < found["nearest_train_distance_real"]
    assert found["nearest_train_distance_low_real"] > 0
    assert found["num_samples"] == 200


@pytest.mark.parametrize("count", [1, 2, 49])
def test_own_prompts_leave_out_comparisons_with_a_word(count):
    prompts = [Prompt("a light picture", "")] * count
    inputs = inputs_of(drawn=LIKE_REAL[1 : 2 * count : 2], prompts=prompts)
    assert distances.measure(inputs) == coverage.measure(inputs) == {}
    assert inputs.left_out[0].startswith("frechet_distance, kernel_distance: left out: needs 50")
    assert adherence.measure(inputs)["adherence"] == 1
    assert conformity.measure(inputs).keys() == {
        "conformity",
        "conformity_se",
        "conformity_real",
    }


def test_unknown_prompts_are_not_judged():
    inputs = inputs_of(drawn=LIKE_REAL[:2], prompts=[Prompt("a cat", "")] * 2)
    assert "adherence" not in adherence.measure(inputs)
    assert conformity.measure(inputs) == {}
    assert classes.measure(inputs) == {}


def test_floors_are_of_pictures_via_the_tokenizer():
    """The tokenizer turns every fourth picture, half of the light ones, to black."""
    damaged = REAL.pixels.copy()
    damaged[1::4] = 0
    found = inputs_of(drawn=LIKE_REAL, reconstructions=damaged)
    shares = adherence.measure(found)
    assert (shares["adherence"], shares["adherence_real"]) == (1, 0.75)
    assert shares["judge_accuracy"] == 1
    usual = distances.measure(inputs_of(drawn=LIKE_REAL))
    measured = distances.measure(found)
    assert measured["frechet_distance"] == usual["frechet_distance"]
    assert measured["frechet_distance_real"] > 2 * usual["frechet_distance_real"]
    table = classes.table(found).set_index("class")
    assert table.loc["light", "adherence_real"] == 0.5
    assert coverage.measure(found)["coverage_real"] < coverage.measure(found)["coverage"]
    memorised = measure_memorisation(found)
    assert memorised["nearest_train_distance_real"] > memorised["nearest_train_distance"]


def test_coverage_and_recall_match_values_by_hand():
    line, far = np.arange(7.0)[:, None], np.array([[10.0], [12.0]])
    # the 5th nearest other point of 6 is 5 away, that of 5 is 4 away
    assert coverage.covered(line, far).tolist() == [False] * 6 + [True]
    assert coverage.recalled(far, line).tolist() == [True, False]
