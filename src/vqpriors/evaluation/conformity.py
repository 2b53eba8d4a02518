"""Conformity: whether drawn pictures look like real pictures of what they should show.

A picture's distance is its mean distance to the 3 nearest real training pictures of the class that
its caption asks for, in the judge's features of shape. A picture conforms if it is no farther than
9 of 10 real pictures of that class via the tokenizer. Unlike adherence, this sees a picture that is
no digit at all.
"""

from collections.abc import Sequence

import numpy as np

from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.base.neighbours import mean_nearest_distance

NEIGHBOURS = 3
QUANTILE = 0.9  # of the distances of real pictures
ROUNDING = 1 + 1e-5  # equal pictures in different batches have slightly different features


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the share of drawn pictures that conform; {} without a judge.

    Returns:
        "conformity" with its standard error "conformity_se", and "conformity_real", that of
        pictures of the evaluated split via the tokenizer, near 0.9. Left out if no prompt is a
        caption of the evaluated split.
    """
    if inputs.judge is None:
        return {}
    found = conforming_drawn(inputs)
    known = np.flatnonzero(~np.isnan(found))
    if not len(known):
        inputs.leave_out("conformity", f"no prompt is a caption of the {inputs.split} split")
        return {}
    groups = inputs.groups([inputs.prompts[row] for row in known])
    return {
        "conformity": float(found[known].mean()),
        "conformity_se": standard_error(found[known], groups),
        "conformity_real": float(np.nanmean(conforming_real(inputs))),
    }


def conforming_drawn(inputs: Inputs) -> np.ndarray:
    """Return which drawn pictures conform: 1, 0, or NaN if their class is unknown; (M,) float64."""
    features, labels = inputs.judged_drawn.shape_features, inputs.labels(inputs.prompts)
    found = np.full(len(features), np.nan)
    for name, usual in _real_distances(inputs).items():
        rows = [
            row
            for row, is_known in enumerate(inputs.known_prompts)
            if is_known and labels[row] == name
        ]
        distances = mean_nearest_distance(features[rows], _training(inputs, name), NEIGHBOURS)
        found[rows] = distances <= np.quantile(usual, QUANTILE) * ROUNDING
    return found


def conforming_real(inputs: Inputs) -> np.ndarray:
    """Return which pictures of the evaluated split conform, via the tokenizer; (R,) float64.

    A picture's limit is that of the pictures of other groups. NaN where its class has none, or no
    training picture.
    """
    groups, found = np.array(inputs.real.groups), np.full(len(inputs.real), np.nan)
    for name, distances in _real_distances(inputs).items():
        rows = _rows(inputs.real_labels, name)
        own = groups[rows]
        for group in dict.fromkeys(own):
            is_own = own == group
            if not is_own.all():
                limit = np.quantile(distances[~is_own], QUANTILE)
                found[rows[is_own]] = distances[is_own] <= limit * ROUNDING
    return found


def _real_distances(inputs: Inputs) -> dict[str | None, np.ndarray]:
    """Return the distances of the evaluated split's pictures via the tokenizer, by class.

    None is the class of all pictures without one. A class without training pictures is left out.
    """
    features, found = inputs.judged_reconstructions.shape_features, {}
    for name in dict.fromkeys(inputs.real_labels):
        if len(training := _training(inputs, name)):
            own = features[_rows(inputs.real_labels, name)]
            found[name] = mean_nearest_distance(own, training, NEIGHBOURS)
    return found


def _training(inputs: Inputs, name: str | None) -> np.ndarray:
    """Return the features of shape of the training pictures of a class, (T, S) float32."""
    return inputs.judged_train.shape_features[_rows(inputs.train_labels, name)]


def _rows(labels: Sequence[str | None], name: str | None) -> np.ndarray:
    return np.array([row for row, label in enumerate(labels) if label == name], dtype=np.int64)
