import numpy as np

from vqpriors.judge.attributes.labels import attributes_of, class_lists, label_matrix

TRAINING = [{"digit": "7", "color": "red"}, {"color": "blue"}, {}, {"digit": "10", "color": "red"}]
CLASSES = {"color": ["blue", "red"], "digit": ["10", "7"]}


def test_classes_are_sorted_by_attribute_and_value():
    classes = class_lists(TRAINING)
    assert classes == CLASSES
    assert list(classes) == ["color", "digit"]


def test_attribute_with_one_value_is_left_out():
    assert class_lists([{"digit": "7", "set": "a"}, {"digit": "1", "set": "a"}]) == {
        "digit": ["1", "7"]
    }


def test_missing_and_unseen_values_are_minus_one():
    rows = [*TRAINING, {"color": "green", "digit": "7", "size": "small"}]
    labels = label_matrix(rows, dict(reversed(CLASSES.items())))
    np.testing.assert_array_equal(labels, [[1, 1], [0, -1], [-1, -1], [1, 0], [-1, 1]])
    assert labels.dtype == np.int64


def test_labels_convert_back_to_attributes():
    assert attributes_of(label_matrix(TRAINING, CLASSES), CLASSES) == TRAINING


def test_empty_label_matrices_have_two_dimensions():
    assert label_matrix([], CLASSES).shape == (0, 2)
    assert label_matrix([{}, {}], {}).shape == (2, 0)
    assert class_lists([{}, {}]) == {}
