import numpy as np

from vqpriors.evaluation.labels import attributes_of, class_lists, judged_attributes, label_matrix

TRAINING = [{"digit": "7", "color": "red"}, {"color": "blue"}, {}, {"digit": "10", "color": "red"}]
CLASSES = {"color": ["blue", "red"], "digit": ["10", "7"]}


def test_classes_are_sorted_by_attribute_and_value():
    classes = class_lists(TRAINING)
    assert classes == CLASSES
    assert list(classes) == ["color", "digit"]


def test_missing_and_unseen_values_are_minus_one():
    rows = [*TRAINING, {"color": "green", "digit": "7", "size": "small"}]
    labels = label_matrix(rows, dict(reversed(CLASSES.items())))
    np.testing.assert_array_equal(labels, [[1, 1], [0, -1], [-1, -1], [1, 0], [-1, 1]])
    assert labels.dtype == np.int64


def test_labels_turn_back_into_attributes():
    assert attributes_of(label_matrix(TRAINING, CLASSES), CLASSES) == TRAINING


def test_no_rows_and_no_attributes_keep_their_shape():
    assert label_matrix([], CLASSES).shape == (0, 2)
    assert label_matrix([{}, {}], {}).shape == (2, 0)
    assert class_lists([{}, {}]) == {}


def test_a_label_joins_the_attributes():
    assert judged_attributes(["7", None, "x"], [{"color": "red"}, {}, {"label": "y"}]) == [
        {"label": "7", "color": "red"},
        {},
        {"label": "y"},
    ]


def test_a_label_that_is_an_attribute_too_counts_once():
    attributes = [{"digit": "7", "color": "red"}, {"digit": "1", "color": "red"}]
    assert judged_attributes(["7", "1"], attributes) == attributes
    assert judged_attributes(["7", "2"], attributes)[0] == {"label": "7"} | attributes[0]
