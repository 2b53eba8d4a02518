import math

import numpy as np
import pytest

from vqpriors.tokenizer.base.codebook import perplexity, ranked_shares, usage


def test_usage_is_the_share_that_occurs():
    codes = np.array([[0, 3], [3, 3]], dtype=np.uint16)
    assert usage(codes, codebook_size=8) == 0.25


def test_perplexity_of_equally_frequent_codes_is_their_number():
    codes = np.array([[5, 1], [2, 7]], dtype=np.uint16)
    assert perplexity(codes, codebook_size=512) == pytest.approx(4)


def test_perplexity_of_one_code_is_one():
    assert perplexity(np.zeros((3, 4), np.int64), codebook_size=4) == 1


def test_perplexity_is_the_exponential_of_the_entropy():
    codes = np.array([0, 0, 1, 2])  # shares 1/2, 1/4, 1/4
    assert perplexity(codes, codebook_size=3) == pytest.approx(math.exp(1.5 * math.log(2)))


def test_ranked_shares_are_descending_and_include_unused_codes():
    codes = np.array([[3, 3, 1], [3, 1, 0]])
    assert ranked_shares(codes, codebook_size=5).tolist() == [3 / 6, 2 / 6, 1 / 6, 0, 0]


@pytest.mark.parametrize("metric", [usage, perplexity, ranked_shares])
def test_codes_out_of_range_are_refused(metric):
    with pytest.raises(ValueError, match=r"codes must lie in 0\.\.3; got 0\.\.4"):
        metric(np.array([0, 4]), codebook_size=4)
    with pytest.raises(ValueError, match=r"got -1\.\.0"):
        metric(np.array([0, -1]), codebook_size=4)
    with pytest.raises(ValueError, match="at least one code"):
        metric(np.zeros((0, 4), np.uint16), codebook_size=4)
