"""Frechet and kernel distance between two sets of pictures, from features of one network.

Any network can provide the features. The pipeline takes the judge's, which is trained on the same
data set, instead of an ImageNet network's. Distances from different networks, or from different
numbers of pictures, cannot be compared.
"""

import numpy as np

from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.judge.judging import judge_pixels

KERNEL_CHUNK = 2048


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the distances of drawn to test pictures; {} without a judge."""
    return {} if inputs.judge is None else measure_distances(inputs, inputs.drawn)


def measure_distances(inputs: Inputs, pixels: np.ndarray) -> dict[str, float]:
    """Return the distances of pictures to the test pictures, in the judge's features.

    Args:
        inputs: A run with a judge.
        pixels: (M, C, H, W) uint8.

    Returns:
        "frechet_distance" and "kernel_distance".
    """
    assert inputs.judge is not None
    features, _ = judge_pixels(inputs.judge, pixels)
    real, _ = judge_pixels(inputs.judge, inputs.real.pixels)
    return {
        "frechet_distance": frechet_distance(features, real),
        "kernel_distance": kernel_distance(features, real),
    }


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance of two Gaussians with the sets' means and covariances.

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)). The trace of (S1 S2)^(1/2) is computed as the sum
    of the singular values of S1^(1/2) S2^(1/2). This avoids the root of an asymmetric matrix and
    roots of negative rounding errors, so sets with fewer rows than features are safe. The distance
    of small sets is biased upwards; `kernel_distance` is unbiased.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.

    Returns:
        At least 0, in squared feature units.

    Raises:
        ValueError: If a set has fewer than 2 rows, the widths differ, or a value is not finite.

    Reference:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv:1706.08500.
    """
    first, second = _checked(first, second)
    s1, s2 = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (first, second))
    roots = _square_root(s1) @ _square_root(s2)
    trace = np.linalg.svd(roots, compute_uv=False).sum()
    offset = first.mean(axis=0) - second.mean(axis=0)
    distance = offset @ offset + np.trace(s1) + np.trace(s2) - 2 * trace
    return float(max(distance, 0.0))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x.y / F + 1)^3.

    Computed from the whole sets instead of random subsets, so it needs no seed. Since it is
    unbiased, it may be slightly below 0 for two sets from the same distribution.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.

    Returns:
        The estimate, without the usual factor of 1,000.

    Raises:
        ValueError: If a set has fewer than 2 rows, the widths differ, or a value is not finite.

    Reference:
        Binkowski et al. 2018, Demystifying MMD GANs, arXiv:1801.01401.
    """
    first, second = _checked(first, second)
    across = _kernel_sum(first, second) / (len(first) * len(second))
    return float(_mean_of_pairs(first) + _mean_of_pairs(second) - 2 * across)


def _mean_of_pairs(features: np.ndarray) -> float:
    """Return the mean of the kernel over all ordered pairs of different rows."""
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
            raise ValueError(f"expected (M, F) features with M at least 2; got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features must be finite; got NaN or infinity")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features must have the same width; got {first.shape} and {second.shape}")
    return first.astype(np.float64), second.astype(np.float64)
