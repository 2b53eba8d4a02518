"""Standard errors of metrics, over groups of pictures that are not independent of each other."""

from collections.abc import Sequence

import numpy as np


def standard_error(values: np.ndarray, groups: Sequence[str]) -> float:
    """Return the standard error of a mean over pictures in groups.

    Pictures of different groups are independent; those of one group, such as drawings of one glyph
    or several draws of one caption, need not be.

    Args:
        values: A value of each of M pictures, (M,) float or bool.
        groups: The group of each picture.

    Returns:
        The cluster-robust standard error; NaN with fewer than 2 groups.

    Reference:
        Liang & Zeger 1986, Longitudinal data analysis using generalized linear models.
    """
    values = np.asarray(values, dtype=np.float64)
    index = group_index(groups)
    num_groups = index.max(initial=-1) + 1
    if num_groups < 2:
        return float("nan")
    sums = np.bincount(index, weights=values - values.mean())
    variance = (sums**2).sum() * num_groups / (num_groups - 1)
    return float(np.sqrt(variance) / len(values))


def bootstrap_weights(
    sets: Sequence[Sequence[str]], *, num_samples: int, seed: int
) -> list[np.ndarray]:
    """Draw bootstrap samples of groups that several sets of pictures share.

    Args:
        sets: The group of each picture, for each set. A group is drawn equally often in all sets.
        num_samples: Number of bootstrap samples S.
        seed: Seed of the draws.

    Returns:
        For each set, how often each picture is in each sample, (M, 1 + S) float64. Column 0 is 1
        for every picture: the set itself.

    Reference:
        Efron 1979, Bootstrap methods: another look at the jackknife.
    """
    names = sorted({name for groups in sets for name in groups})
    rows = {name: row for row, name in enumerate(names)}
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), num_samples)
    weights = np.concatenate([np.ones((1, len(names))), counts]).T  # (groups, 1 + S)
    return [weights[[rows[name] for name in groups]] for groups in sets]


def group_index(groups: Sequence[str]) -> np.ndarray:
    """Number the distinct names of groups from 0; return the number of each, (M,) int64."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in groups], dtype=np.int64)
