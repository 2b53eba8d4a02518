"""Frechet and kernel distance between two sets of pictures, from features of one network.

Any network can provide the features. The pipeline takes the judge's, which is trained on the same
data set, instead of an ImageNet network's. Distances from different networks, or from different
numbers of pictures, cannot be compared. A distance of 0 is not the goal: compare with the distance
of real pictures.
"""

from collections.abc import Sequence

import numpy as np

from vqpriors.evaluation.base.errors import bootstrap_weights, group_index
from vqpriors.evaluation.base.inputs import Inputs

CHUNK = 2048


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the distances of drawn to real pictures in the judge's features; {} without a judge.

    Both are averaged over draws and over the two halves of the evaluated split; see `Fold`.

    Returns:
        "frechet_distance" and "kernel_distance", with standard errors "frechet_distance_se" and
        "kernel_distance_se"; "frechet_distance_real" and "kernel_distance_real", the distances of
        real pictures of the same captions via the tokenizer; "num_compared", the number of pictures
        in both halves together.
    """
    if inputs.judge is None:
        return {}
    if not inputs.folds:
        inputs.leave_out("frechet_distance, kernel_distance", inputs.why_not_compared)
        return {}
    groups = np.array(inputs.real.groups)
    (weights,) = bootstrap_weights(
        [groups.tolist()], num_samples=inputs.bootstrap_samples, seed=inputs.seed
    )
    drawn, floors = [], []
    for fold in inputs.folds:
        real = inputs.judged_real.features[fold.reference]
        via = inputs.judged_reconstructions.features[fold.floor]
        pair = (groups[fold.floor].tolist(), groups[fold.reference].tolist())
        own = (weights[fold.floor], weights[fold.reference])
        floors.append(_distances(via, real, groups=pair, weights=own))
        for rows in fold.drawn:
            features = inputs.judged_drawn.features[rows]
            drawn.append(_distances(features, real, groups=pair, weights=own))
    metrics: dict[str, float] = {}
    both = zip(np.mean(drawn, axis=0), np.mean(floors, axis=0), strict=True)
    for name, (values, floor) in zip(("frechet_distance", "kernel_distance"), both, strict=True):
        metrics[name] = float(values[0])
        metrics[f"{name}_se"] = float((values - floor)[1:].std(ddof=1))
        metrics[f"{name}_real"] = float(floor[0])
    return metrics | {"num_compared": inputs.num_compared}


def _distances(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: tuple[Sequence[str], Sequence[str]],
    weights: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the Frechet and the kernel distance under S weightings of the rows, (2, S)."""
    columns = zip(*(w.T for w in weights), strict=True)
    frechet = [frechet_distance(first, second, weights=pair) for pair in columns]
    kernel = kernel_distances(first, second, groups=groups, weights=weights)
    return np.stack([np.array(frechet), kernel])


def frechet_distance(
    first: np.ndarray, second: np.ndarray, *, weights: tuple[np.ndarray, ...] = ()
) -> float:
    """Return the Frechet distance of two Gaussians with the sets' means and covariances.

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)). The trace of (S1 S2)^(1/2) is computed as the sum
    of the singular values of S1^(1/2) S2^(1/2). This avoids the root of an asymmetric matrix and
    roots of negative rounding errors, so sets with fewer rows than features are safe. The distance
    of small sets is biased upwards; `kernel_distance` is unbiased.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.
        weights: How often each row of the two sets counts, (M,) and (L,) float; default: once.

    Returns:
        At least 0, in squared feature units.

    Raises:
        ValueError: If a set has fewer than 2 rows, the widths differ, or a value is not finite.

    Reference:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv:1706.08500.
    """
    sets = _checked(first, second)
    weights = weights or tuple(np.ones(len(features)) for features in sets)
    (m1, s1), (m2, s2) = (_moments(f, w) for f, w in zip(sets, weights, strict=True))
    trace = np.linalg.svd(_square_root(s1) @ _square_root(s2), compute_uv=False).sum()
    distance = (m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * trace
    return float(max(distance, 0.0))


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x.y / F + 1)^3.

    Computed from the whole sets instead of random subsets, so it needs no seed. Since it is
    unbiased, it may be slightly below 0 for two sets from the same distribution.

    Args:
        first: (M, F) float; M at least 2.
        second: (L, F) float; L at least 2.
        groups: Names of the groups of both sets' rows. Pairs of one group, such as a real picture
            and the picture that was drawn from its caption, are not independent and are left out.
            Default: only the pairs of a row with itself are left out.

    Returns:
        The estimate, without the usual factor of 1,000.

    Raises:
        ValueError: If a set has fewer than 2 rows or 2 groups, the widths differ, or a value is not
            finite.

    Reference:
        Binkowski et al. 2018, Demystifying MMD GANs, arXiv:1801.01401;
        Gretton et al. 2012, A kernel two-sample test (the unbiased estimate).
    """
    if groups is None:
        groups = [f"first {i}" for i in range(len(first))], [str(i) for i in range(len(second))]
    ones = [np.ones((len(features), 1)) for features in (first, second)]
    return float(kernel_distances(first, second, groups=groups, weights=ones)[0])


def kernel_distances(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: tuple[Sequence[str], Sequence[str]],
    weights: Sequence[np.ndarray],
) -> np.ndarray:
    """Return `kernel_distance` under S weightings of the rows.

    Args:
        first: As in `kernel_distance`; likewise `second` and `groups`.
        second: See there.
        groups: See there.
        weights: How often each row of the two sets counts, (M, S) and (L, S) float.

    Returns:
        (S,) float64.
    """
    first, second = _checked(first, second)
    names = group_index([*groups[0], *groups[1]])
    sets = [
        (first, names[: len(first)], weights[0]),
        (second, names[len(first) :], weights[1]),
    ]
    within = [_mean_kernel(part, part) for part in sets]
    return within[0] + within[1] - 2 * _mean_kernel(*sets)


_Set = tuple[np.ndarray, np.ndarray, np.ndarray]  # features, groups and weights


def _mean_kernel(first: _Set, second: _Set) -> np.ndarray:
    """Return the weighted mean of the kernel over the pairs of different groups, (S,) float64."""
    (rows, row_groups, row_weights), (columns, column_groups, column_weights) = first, second
    total = pairs = np.zeros(row_weights.shape[1])
    for i in range(0, len(rows), CHUNK):
        for j in range(0, len(columns), CHUNK):
            a, b = slice(i, i + CHUNK), slice(j, j + CHUNK)
            is_pair = row_groups[a, None] != column_groups[None, b]
            kernel = (rows[a] @ columns[b].T / rows.shape[1] + 1) ** 3 * is_pair
            total = total + (row_weights[a] * (kernel @ column_weights[b])).sum(axis=0)
            pairs = pairs + (row_weights[a] * (is_pair @ column_weights[b])).sum(axis=0)
    if not (pairs > 0).all():
        raise ValueError("expected pairs of different groups; got one group only")
    return total / pairs


def _moments(features: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean, (F,), and the covariance, (F, F), of weighted rows."""
    total = weights.sum()
    mean = weights @ features / total
    centred = features - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1)


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
