import numpy as np
import pytest

from vqpriors.evaluation import distances
from vqpriors.evaluation.distances import frechet_distance, kernel_distance, kernel_distances


def normal(count, width, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width))


def whitened(count, width, seed=0):
    """Draw points with sample mean 0 and sample covariance I."""
    points = normal(count, width, seed)
    points -= points.mean(axis=0)
    orthogonal, _ = np.linalg.qr(points)
    return orthogonal * np.sqrt(count - 1)


def test_frechet_distance_of_equal_sets_is_zero():
    features = normal(200, 16)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-10)


def test_frechet_distance_of_one_feature_matches_hand_computed_value():
    first, second = np.array([[-1.0], [1.0]]), np.array([[1.0], [5.0]])
    # means 0 and 3; variances 2 and 8; 9 + 2 + 8 - 2 * sqrt(16)
    assert frechet_distance(first, second) == pytest.approx(11)


def test_frechet_distance_of_known_gaussians():
    first = whitened(100, 3) * [1, 2, 3] + [0, 0, 1]
    second = whitened(50, 3, seed=1) * [4, 2, 1] + [2, 0, 0]
    # squared offsets 4 + 1; squared differences of deviations 9 + 0 + 4
    assert frechet_distance(first, second) == pytest.approx(18)


def test_frechet_distance_of_covariances_that_do_not_commute():
    points = whitened(60, 2)
    first = points @ np.diag([1.0, 2.0])
    second = points @ np.array([[2.0, 1.0], [1.0, 2.0]])
    # S1 = diag(1, 4), S2 = [[5, 4], [4, 5]]: the product's eigenvalues sum to 25, multiply to 36
    trace = np.sqrt(25 + 2 * np.sqrt(36))
    assert frechet_distance(first, second) == pytest.approx(5 + 10 - 2 * trace)


def test_frechet_distance_works_with_fewer_rows_than_features():
    first, second = normal(3, 64), normal(4, 64, seed=1)
    distance = frechet_distance(first, second)
    assert np.isfinite(distance)
    assert distance == pytest.approx(frechet_distance(second, first))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_of_three_points_matches_hand_computed_value():
    first, second = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [0.0], [1.0]])
    # (x y + 1)^3 over pairs: first 1, 1, 27; second 1, 1, 1; across 1 1 1, 1 1 8, 1 1 27
    assert kernel_distance(first, second) == pytest.approx(29 / 3 + 1 - 2 * 42 / 9)


def test_kernel_distance_divides_products_by_the_width():
    first, second = np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 0.0]])
    assert kernel_distance(first, second) == pytest.approx(1.5**3 + 1 - 2)


def test_kernel_distance_is_unbiased():
    draws = [kernel_distance(normal(5, 3, s), normal(5, 3, 1000 + s)) for s in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
    assert min(draws) < 0


def test_kernel_distance_grows_with_the_offset():
    first, second = normal(300, 8), normal(300, 8, seed=1)
    near, far = (kernel_distance(first, second + offset) for offset in (0.1, 0.5))
    assert near < far


def test_chunk_size_does_not_change_kernel_distance(monkeypatch):
    first, second = normal(30, 4), normal(21, 4, seed=1)
    whole = kernel_distance(first, second)
    monkeypatch.setattr(distances, "CHUNK", 8)
    assert kernel_distance(first, second) == pytest.approx(whole)


def test_kernel_distance_leaves_out_pairs_of_one_group():
    first, second = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    found = kernel_distance(first, second, groups=(["a", "b"], ["a", "b"]))
    # within: (0 * 1 + 1)^3 and (1 * 2 + 1)^3; across only 0 with 2 and 1 with 1
    assert found == pytest.approx(1 + 27 - 2 * (1 + 8) / 2)


def test_kernel_distance_of_paired_captions_is_unbiased():
    """Both sets are of the same captions, drawn from one distribution: the truth is 0."""
    paired, as_if_independent = [], []
    for seed in range(300):
        captions = normal(12, 3, seed) * 2
        first = captions + normal(12, 3, 1000 + seed)
        second = captions + normal(12, 3, 2000 + seed)
        names = [str(i) for i in range(12)]
        paired.append(kernel_distance(first, second, groups=(names, names)))
        as_if_independent.append(kernel_distance(first, second))
    error = np.std(paired) / np.sqrt(300)
    assert abs(np.mean(paired)) < 3 * error
    assert np.mean(as_if_independent) < -3 * np.std(as_if_independent) / np.sqrt(300)


def test_kernel_distance_of_one_group_raises():
    with pytest.raises(ValueError, match="one group only"):
        kernel_distance(normal(3, 2), normal(3, 2), groups=(["a"] * 3, ["b"] * 3))


def test_weights_are_repetitions_of_rows():
    first, second = normal(6, 2), normal(5, 2, seed=1) + 1
    weights = np.array([2.0, 1, 0, 1, 1, 1]), np.array([1.0, 3, 1, 0, 1])
    rows = [np.repeat(np.arange(len(w)), w.astype(int)) for w in weights]
    expected = frechet_distance(first[rows[0]], second[rows[1]])
    assert frechet_distance(first, second, weights=weights) == pytest.approx(expected)
    groups = [str(i) for i in range(6)], [str(10 + i) for i in range(5)]
    found = kernel_distances(first, second, groups=groups, weights=[w[:, None] for w in weights])
    repeated = tuple([names[i] for i in r] for names, r in zip(groups, rows, strict=True))
    expected = kernel_distance(first[rows[0]], second[rows[1]], groups=repeated)
    assert found == pytest.approx([expected])


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_invalid_features_raise(distance):
    features = normal(4, 3)
    with pytest.raises(ValueError, match="M at least 2"):
        distance(features, features[:1])
    with pytest.raises(ValueError, match="same width"):
        distance(features, features[:, :2])
    with pytest.raises(ValueError, match="finite"):
        distance(features, np.full((4, 3), np.nan))
