import pytest

from vqpriors.core.params import check
from vqpriors.sources.base.splits import Splits, select

SHARES = {"validation_share": 0.1, "test_share": 0.2}


def choose(sizes, train="train", validation=None, test=None, limit=None, seed=0, **shares):
    values = {"train": train, "validation": validation, "test": test, **SHARES, **shares}
    splits = check("data.x.splits", values, Splits)
    return select(sizes, splits, limit=limit, seed=seed, param="data.x")


def test_splits_are_disjoint_and_complete():
    chosen = choose({"train": 100})
    assert {split: len(part.rows) for split, part in chosen.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert sorted(row for part in chosen.values() for row in part.rows) == list(range(100))


def test_named_split_has_all_rows():
    chosen = choose({"train": 10, "test": 4}, test="test")
    assert (chosen["test"].source_split, chosen["test"].rows) == ("test", [0, 1, 2, 3])
    assert len(chosen["train"].rows) == 9


def test_rows_are_ascending():
    for part in choose({"train": 100}, limit=7).values():
        assert part.rows == sorted(part.rows)


def test_rows_depend_on_the_seed_only():
    assert choose({"train": 100}) == choose({"train": 100})
    assert choose({"train": 100}) != choose({"train": 100}, seed=1)


def test_test_rows_of_seed_0_are_fixed():
    assert choose({"train": 10})["test"].rows == [0, 4]


def test_limit_selects_a_subset_of_each_split():
    whole, limited = choose({"train": 100}), choose({"train": 100}, limit=5)
    for split in whole:
        assert len(limited[split].rows) == 5
        assert set(limited[split].rows) < set(whole[split].rows)


def test_limit_draws_from_all_of_a_split():
    assert max(choose({"train": 1000}, limit=20)["train"].rows) > 500


def test_missing_split_names_the_param_and_lists_the_available_ones():
    expected = r"^data\.x\.splits\.test: the source has no split 'dev'; choose one of train, val$"
    with pytest.raises(ValueError, match=expected):
        choose({"train": 9, "val": 3}, validation="val", test="dev")


def test_split_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"^data\.x\.splits: must be distinct, got 'test' twice"):
        choose({"train": 9, "test": 3}, validation="test", test="test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"validation_share": 0.01},
            r"data\.x\.splits\.validation_share: too small: leaves no row of",
        ),
        ({"validation_share": 0.9}, r"data\.x\.splits\.train: no rows left in 'train'"),
        ({"test": "test"}, r"data\.x\.splits\.test: no rows left in 'test'"),
    ],
)
def test_empty_split_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose({"train": 10, "test": 0}, **arguments)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "validation", "test"], ["validation", "test"]),
        (["train", "test"], ["train", "test"]),
        (["train", "validation"], ["validation", "train"]),
        (["train", "dev"], ["train", "train"]),
    ],
)
def test_auto_takes_the_split_of_that_name_if_there_is_one(names, expected):
    chosen = choose(dict.fromkeys(names, 100), validation="auto", test="auto")
    assert [chosen[split].source_split for split in ("validation", "test")] == expected
    rows = [(part.source_split, row) for part in chosen.values() for row in part.rows]
    assert len(rows) == len(set(rows)) == 100 * (1 + len({*expected} - {"train"}))


def test_auto_takes_no_split_that_is_named_otherwise():
    chosen = choose({"train": 100, "test": 50}, validation="test", test="auto")
    assert [part.source_split for part in chosen.values()] == ["train", "test", "train"]
