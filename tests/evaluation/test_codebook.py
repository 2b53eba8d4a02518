import numpy as np

from vqpriors.evaluation.codebook import codebook_table


def test_used_codes_are_ranked_by_share():
    table = codebook_table(np.array([[3, 3, 1], [3, 1, 0]]), codebook_size=5)
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["share"].tolist() == [3 / 6, 2 / 6, 1 / 6]
