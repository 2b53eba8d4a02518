"""How far apart two sets of pictures are, by their features under one network.

The features are any network's: the judge's, for pictures that no ImageNet network knows. Numbers
under different networks, or of different numbers of pictures, don't compare.
"""

import numpy as np

KERNEL_CHUNK = 2048


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance of the two Gaussians with the sets' means and covariances.

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last trace is the sum of the singular values of
    S1^(1/2) S2^(1/2): no root of an asymmetric matrix, and none of a rounding error below zero, so
    sets with fewer rows than features are safe. Small sets bias it upwards; `kernel_distance` is
    free of that.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.

    Returns:
        At least 0, in squared feature units.

    Raises:
        ValueError: If the sets have fewer than 2 rows, other widths, or values that aren't finite.

    Reference:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv:1706.08500.
    """
    first, second = _checked(first, second)
    spread, other_spread = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (first, second))
    roots = _square_root(spread) @ _square_root(other_spread)
    shared = np.linalg.svd(roots, compute_uv=False).sum()
    offset = first.mean(axis=0) - second.mean(axis=0)
    distance = offset @ offset + np.trace(spread) + np.trace(other_spread) - 2 * shared
    return float(max(distance, 0.0))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x.y / F + 1)^3.

    Over the whole sets rather than random subsets, so it has no seed. Being unbiased it may fall
    slightly below 0 for sets of one distribution, and small sets don't raise it.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.

    Returns:
        The estimate, not multiplied by 1,000.

    Raises:
        ValueError: If the sets have fewer than 2 rows, other widths, or values that aren't finite.

    Reference:
        Binkowski et al. 2018, Demystifying MMD GANs, arXiv:1801.01401.
    """
    first, second = _checked(first, second)
    across = _kernel_sum(first, second) / (len(first) * len(second))
    return float(_mean_of_pairs(first) + _mean_of_pairs(second) - 2 * across)


def _mean_of_pairs(features: np.ndarray) -> float:
    """Average the kernel over ordered pairs of different rows."""
    with_itself = ((features**2).sum(axis=1) / features.shape[1] + 1) ** 3
    count = len(features)
    return (_kernel_sum(features, features) - with_itself.sum()) / (count * (count - 1))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    total = 0.0
    for i in range(0, len(first), KERNEL_CHUNK):
        for j in range(0, len(second), KERNEL_CHUNK):
            products = first[i : i + KERNEL_CHUNK] @ second[j : j + KERNEL_CHUNK].T
            total += ((products / first.shape[1] + 1) ** 3).sum()
    return total


def _square_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"expected (M, F) features, M at least 2; got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features must be finite; got NaN or infinity")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features must be equally wide; got {first.shape} and {second.shape}")
    return first.astype(np.float64), second.astype(np.float64)
