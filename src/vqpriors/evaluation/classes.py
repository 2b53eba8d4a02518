"""Adherence and conformity by class: a mean over classes hides the one that fails."""

from typing import Any

import numpy as np
import pandas as pd

from vqpriors.evaluation.adherence import is_right, judged_attributes, predicted
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.conformity import conforming_drawn, conforming_real

COLUMNS = ("adherence", "adherence_real", "conformity", "conformity_real")


def measure(inputs: Inputs) -> dict[str, Any]:
    """Return the lowest adherence and conformity of a class, and which class it is.

    Returns:
        "adherence_worst", "adherence_worst_class", "conformity_worst", "conformity_worst_class";
        {} without a judge or without classes.
    """
    rows = table(inputs)
    found: dict[str, Any] = {}
    for name in ("adherence", "conformity"):
        known = rows.dropna(subset=[name])
        if len(known):
            worst: Any = known.sort_values(name, kind="stable").iloc[0]
            found[f"{name}_worst"] = float(worst[name])
            found[f"{name}_worst_class"] = worst["class"]
    return found


def table(inputs: Inputs) -> pd.DataFrame:
    """Return a row for each class of the drawn pictures: "class", "pictures" and `COLUMNS`."""
    labels = inputs.labels(inputs.prompts)
    classes = sorted({label for label in labels if label is not None})
    columns = ["class", "pictures", *COLUMNS]
    if inputs.judge is None or len(classes) < 2:
        return pd.DataFrame(columns=columns)
    drawn: dict[str, Any] = {"class": labels, "pictures": 1}
    real: dict[str, Any] = {"class": inputs.real_labels}
    if inputs.judge.classes:
        requested = inputs.requested(inputs.prompts)
        drawn["adherence"] = _right(inputs, inputs.judged_drawn.labels, requested)
        real["adherence_real"] = _right(
            inputs, inputs.judged_reconstructions.labels, inputs.requested(inputs.real_prompts)
        )
    drawn["conformity"] = conforming_drawn(inputs)
    real["conformity_real"] = conforming_real(inputs)
    sums = {name: "sum" if name == "pictures" else "mean" for name in drawn if name != "class"}
    found = pd.DataFrame(drawn).groupby("class").agg(sums)
    found = found.join([pd.DataFrame(real).groupby("class").agg("mean")])
    return found.reset_index().reindex(columns=columns)


def _right(inputs: Inputs, labels: np.ndarray, attributes: Any) -> list[bool]:
    pairs = zip(predicted(inputs, labels), judged_attributes(inputs, attributes), strict=True)
    return [is_right(prediction, request) for prediction, request in pairs]
