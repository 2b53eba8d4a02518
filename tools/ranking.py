"""Ranks of comparable runs: those measured by the same judge on the same number of pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Metrics with a standard error; whether a lower value is better.
RANKED = {
    "frechet_distance": True,
    "kernel_distance": True,
    "conformity": False,
    "coverage": False,
    "recall": False,
    "adherence": False,
    "r_precision": False,
}
# Metrics without ranks: minutes and speed depend on the machine, nats on the tokenizer.
SORTED = {
    "nats_per_token": True,
    "train_minutes": True,
    "parameters": True,
    "images_per_second": False,
}

Metrics = Mapping[str, Any]


def rank(own: Metrics, others: Sequence[Metrics], metric: str = "frechet_distance") -> str:
    """Return 1 + the number of runs that are better by more than two standard errors.

    Runs are compared if the same judge has measured them, on as many pictures. Runs whose
    difference is within the errors can share a rank.

    Args:
        own: Metrics of the run.
        others: Metrics of all runs, its own included.
        metric: One of `RANKED`.

    Returns:
        The rank; "-" for a run without a judge or without the metric's error.
    """
    if not {"judge", metric, f"{metric}_se"} <= own.keys():
        return "-"
    rivals = [
        other
        for other in others
        if {metric, f"{metric}_se"} <= other.keys()
        and all(other.get(key) == own.get(key) for key in ("judge", "num_compared"))
    ]
    sign = 1 if RANKED[metric] else -1
    better = sum(
        sign * (own[metric] - other[metric])
        > 2 * math.hypot(own[f"{metric}_se"], other[f"{metric}_se"])
        for other in rivals
    )
    return str(1 + better)


def sort_value(metrics: Metrics, metric: str) -> float:
    """Return a number that is lower for better runs, and highest without the metric."""
    sign = 1 if {**RANKED, **SORTED}[metric] else -1
    return sign * metrics[metric] if metric in metrics else math.inf
