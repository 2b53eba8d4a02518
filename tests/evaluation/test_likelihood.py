import math

import numpy as np
import pytest

from vqpriors.evaluation.likelihood import Likelihood, measure_likelihood

NATS = np.array([1.0, 3.0, 2.0, 6.0]) * math.log(4)


def test_units_match_hand_computed_values():
    found = measure_likelihood(Likelihood(NATS, None), groups=list("abcd"), num_tokens=3)
    deviation = np.std([1 / 3, 1, 2 / 3, 2], ddof=1) * math.log(4)
    assert found == {
        "nats_per_token": pytest.approx(math.log(4)),
        "nats_per_token_se": pytest.approx(deviation / 2),
        "perplexity": pytest.approx(4.0),
    }


def test_standard_error_is_over_groups():
    found = measure_likelihood(Likelihood(NATS, None), groups=list("aabb"), num_tokens=3)
    # sums of deviations from the mean 3: -2 and 2; sqrt(2 * (4 + 4)) / 4 pictures / 3 codes
    assert found["nats_per_token_se"] == pytest.approx(math.log(4) / 3)


def test_bound_has_the_error_of_its_estimate():
    found = measure_likelihood(
        Likelihood(NATS, np.array([4.0, 0.0, 3.0, 2.0])), groups=list("abcd"), num_tokens=3
    )
    assert found["nats_bound_se"] == pytest.approx(3 / 4 / 3)
