import pytest

from vqpriors.evaluation.adherence import adherence

TRAINING = [
    {"color": "red", "digit": "1", "size": "small"},
    {"color": "blue", "digit": "7", "size": "large"},
    {"color": "red", "digit": "7", "size": "small"},
]


def test_shares_match_hand_computed_values():
    requested = [
        {"color": "red", "digit": "1"},  # seen, right
        {"color": "red", "digit": "7"},  # seen, digit wrong
        {"color": "blue", "digit": "1"},  # unseen, color wrong
        {},  # no request
    ]
    predicted = [
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
        {"color": "red", "digit": "1"},
    ]
    assert adherence(predicted, requested, training=TRAINING) == {
        "adherence": pytest.approx(1 / 3),
        "adherence_seen": 0.5,
        "adherence_unseen": 0.0,
        "adherence_by_attribute": {"color": pytest.approx(2 / 3), "digit": pytest.approx(2 / 3)},
    }


def test_combination_is_seen_if_all_its_pairs_are():
    # No training image is a large red seven, but every two of these values occur together.
    training = [*TRAINING, {"color": "red", "digit": "1", "size": "large"}]
    request = {"color": "red", "digit": "7", "size": "large"}
    assert "adherence_seen" in adherence([request], [request], training=training)
    assert "adherence_unseen" in adherence([request], [request], training=TRAINING)


def test_shares_of_no_pictures_are_left_out():
    request = {"color": "red"}
    assert adherence([request], [request], training=TRAINING) == {
        "adherence": 1.0,
        "adherence_seen": 1.0,
        "adherence_by_attribute": {"color": 1.0},
    }
    assert adherence([request], [{}], training=TRAINING) == {}


def test_missing_prediction_is_wrong():
    assert adherence([{}], [{"color": "red"}], training=TRAINING)["adherence"] == 0


def test_predictions_and_requests_must_be_equally_many():
    with pytest.raises(ValueError, match="longer"):
        adherence([{}], [{"color": "red"}] * 2, training=TRAINING)
