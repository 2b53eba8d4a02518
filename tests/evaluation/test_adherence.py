import pytest

from vqpriors.evaluation.adherence import adherence

TRAINING = [
    {"color": "red", "digit": "1", "size": "small"},
    {"color": "blue", "digit": "7", "size": "large"},
    {"color": "red", "digit": "7", "size": "small"},
]


def test_shares_by_hand():
    wanted = [
        {"color": "red", "digit": "1"},  # seen, right
        {"color": "red", "digit": "7"},  # seen, digit wrong
        {"color": "blue", "digit": "1"},  # unseen, color wrong
        {},  # wants nothing
    ]
    predicted = [
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
    ]
    assert adherence(predicted, wanted, training=TRAINING) == {
        "adherence": pytest.approx(1 / 3),
        "adherence_seen": 0.5,
        "adherence_unseen": 0.0,
        "adherence_by_attribute": {"color": pytest.approx(2 / 3), "digit": pytest.approx(2 / 3)},
    }


def test_a_combination_is_seen_when_each_of_its_pairs_is():
    # No training image is a large red seven, but each two of these occur together.
    training = [*TRAINING, {"color": "red", "digit": "1", "size": "large"}]
    wish = {"color": "red", "digit": "7", "size": "large"}
    assert "adherence_seen" in adherence([wish], [wish], training=training)
    assert "adherence_unseen" in adherence([wish], [wish], training=TRAINING)


def test_what_cannot_be_computed_has_no_key():
    wish = {"color": "red"}
    assert adherence([wish], [wish], training=TRAINING) == {
        "adherence": 1.0,
        "adherence_seen": 1.0,
        "adherence_by_attribute": {"color": 1.0},
    }
    assert adherence([wish], [{}], training=TRAINING) == {}


def test_an_attribute_that_is_not_predicted_is_wrong():
    assert adherence([{}], [{"color": "red"}], training=TRAINING)["adherence"] == 0


def test_as_many_predictions_as_wishes_are_needed():
    with pytest.raises(ValueError, match="longer"):
        adherence([{}], [{"color": "red"}] * 2, training=TRAINING)
