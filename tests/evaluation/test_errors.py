import numpy as np
import pytest

from vqpriors.evaluation.base.errors import bootstrap_weights, group_index, standard_error

VALUES = np.random.default_rng(0).standard_normal(40)
NAMES = [str(i) for i in range(40)]


def test_error_of_independent_pictures_is_the_usual_one():
    expected = VALUES.std(ddof=1) / np.sqrt(40)
    assert standard_error(VALUES, NAMES) == pytest.approx(expected)


def test_copies_do_not_make_an_error_smaller():
    copies = np.repeat(VALUES, 3)
    assert standard_error(copies, np.repeat(NAMES, 3).tolist()) == pytest.approx(
        standard_error(VALUES, NAMES)
    )
    assert standard_error(copies, [str(i) for i in range(120)]) < standard_error(VALUES, NAMES)


def test_error_is_the_spread_of_means_over_repeated_data():
    generator = np.random.default_rng(1)
    means, errors, groups = [], [], np.repeat(np.arange(30), 4).astype(str).tolist()
    for _ in range(400):
        values = np.repeat(generator.standard_normal(30), 4) + generator.standard_normal(120)
        means.append(values.mean())
        errors.append(standard_error(values, groups))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_one_group_has_no_error():
    assert np.isnan(standard_error(VALUES, ["a"] * 40))


def test_bootstrap_samples_of_two_sets_have_the_same_groups():
    first, second = bootstrap_weights([list("aabbc"), list("cba")], num_samples=50, seed=0)
    assert (first.shape, second.shape) == ((5, 51), (3, 51))
    assert (first[:, 0] == 1).all()
    assert (second[:, 0] == 1).all()
    np.testing.assert_array_equal(first[[0, 2, 4]], second[[2, 1, 0]])
    np.testing.assert_array_equal(first[0], first[1])
    assert (second[:, 1:].sum(axis=0) == 3).all()
    assert len(np.unique(second[:, 1:], axis=1).T) > 5


def test_groups_are_numbered_in_order():
    assert group_index(["b", "a", "b"]).tolist() == [0, 1, 0]
