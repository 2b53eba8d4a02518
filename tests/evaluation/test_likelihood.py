import math

import pytest

from vqpriors.evaluation.likelihood import measure_likelihood


def test_units_match_hand_computed_values():
    found = measure_likelihood(12 * math.log(4), standard_error=6.0, num_tokens=12, num_values=48)
    assert found == {
        "nats_per_token": pytest.approx(math.log(4)),
        "nats_standard_error": 0.5,
        "perplexity": pytest.approx(4.0),
        "bits_per_dim": pytest.approx(0.5),  # 12 codes of 2 bits over 48 values
    }


def test_exact_likelihood_has_no_standard_error():
    found = measure_likelihood(3.0, standard_error=0.0, num_tokens=2, num_values=5)
    assert found["nats_standard_error"] == 0.0
