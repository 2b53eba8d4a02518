"""Coverage and recall: how much of the variety of real pictures the drawn ones have.

References:
    Naeem et al. 2020, Reliable fidelity and diversity metrics, arXiv:2002.09797 (coverage);
    Kynkaanniemi et al. 2019, Improved precision and recall metric, arXiv:1904.06991 (recall).
"""

import numpy as np

from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.base.neighbours import distance_chunks, radii

NEIGHBOURS = 5


def measure(inputs: Inputs) -> dict[str, float]:
    """Return coverage and recall of real pictures by drawn ones; {} without a judge.

    Both are of the judge's features of shape, and averaged over draws and over the two halves of
    the evaluated split; see `Fold`.

    Returns:
        "coverage" and "recall" with standard errors "coverage_se" and "recall_se";
        "coverage_real" and "recall_real", those by real pictures of the same captions via the
        tokenizer.
    """
    if inputs.judge is None:
        return {}
    if not inputs.folds:
        inputs.leave_out("coverage, recall", inputs.why_not_compared)
        return {}
    metrics = {}
    for name, compute in (("coverage", covered), ("recall", recalled)):
        drawn, floors = np.empty(len(inputs.real)), np.empty(len(inputs.real))
        for fold in inputs.folds:
            real = inputs.judged_real.shape_features[fold.reference]
            sets = [inputs.judged_drawn.shape_features[rows] for rows in fold.drawn]
            via = inputs.judged_reconstructions.shape_features[fold.floor]
            drawn[fold.reference] = np.mean([compute(real, part) for part in sets], axis=0)
            floors[fold.reference] = compute(real, via)
        metrics[name] = float(drawn.mean())
        metrics[f"{name}_se"] = standard_error(drawn, inputs.real.groups)
        metrics[f"{name}_real"] = float(floors.mean())
    return metrics


def covered(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return which real pictures have a drawn one among their nearest neighbours.

    Args:
        real: (M, F) float, M above 5.
        drawn: (L, F) float.

    Returns:
        True where the nearest drawn picture is no farther than the 5th nearest other real one;
        (M,) bool.
    """
    nearest = np.empty(len(real))
    for rows, distances in distance_chunks(real, drawn):
        nearest[rows] = distances.min(axis=1)
    return nearest <= radii(real, NEIGHBOURS)


def recalled(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return which real pictures lie among the drawn ones.

    Args:
        real: (M, F) float.
        drawn: (L, F) float, L above 5.

    Returns:
        True where some drawn picture is no farther than its own 5th nearest other drawn one;
        (M,) bool.
    """
    own = radii(drawn, NEIGHBOURS)
    found = np.empty(len(real), dtype=bool)
    for rows, distances in distance_chunks(real, drawn):
        found[rows] = (distances <= own).any(axis=1)
    return found
