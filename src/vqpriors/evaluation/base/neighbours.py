"""Euclidean distances between sets of feature vectors, chunk by chunk."""

from collections.abc import Iterator

import numpy as np

CHUNK = 1024


def distance_chunks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the distances of some rows of `first` to all of `second`, and which rows they are.

    Args:
        first: (M, F) float.
        second: (L, F) float.

    Yields:
        The rows, and their distances, (rows, L) float64.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    norms = (second**2).sum(axis=1)
    for start in range(0, len(first), CHUNK):
        rows = slice(start, start + CHUNK)
        part = first[rows]
        squares = (part**2).sum(axis=1)[:, None] + norms - 2 * part @ second.T
        yield rows, np.sqrt(np.maximum(squares, 0))


def radii(features: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each row to its k-th nearest other row, (M,) float64; k below M."""
    found = np.empty(len(features))
    for rows, distances in distance_chunks(features, features):
        distances[np.arange(len(distances)), np.arange(len(features))[rows]] = np.inf
        found[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return found


def mean_nearest_distance(features: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """Return the mean distance of each row to its k nearest rows of `others`, (M,) float64.

    Uses all of `others` if there are fewer than k.
    """
    k = min(k, len(others))
    found = np.empty(len(features))
    for rows, distances in distance_chunks(features, others):
        found[rows] = np.partition(distances, k - 1, axis=1)[:, :k].mean(axis=1)
    return found
