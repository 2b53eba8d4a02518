"""Adherence: how often the judge recognises the attributes that a prompt asks for.

The judge must choose one of the known classes, so it does not see that a picture is malformed, nor
that pictures lack variety: see conformity, coverage and variety.

Combinations of attributes that no training image has are counted separately. Drawing a red seven
after training on other red digits and on other sevens requires composition, not memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from vqpriors.data.samples import Prompt
from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.judge.attributes.labels import attributes_of

Attributes = Mapping[str, str]


def measure(inputs: Inputs) -> dict[str, Any]:
    """Return the adherence of drawn pictures and the judge's accuracy; {} without attributes.

    Returns:
        Of drawn pictures: "adherence" with its standard error "adherence_se", "adherence_seen",
        "adherence_unseen" and "adherence_<attribute>"; see `adherence`. "adherence_real" and
        "adherence_unseen_real": of pictures of the evaluated split via the tokenizer.

        "judge_accuracy": share of pictures of the evaluated split, as they are, with every
        attribute right. "unreliable_attributes": names of the attributes that the judge gets right
        in fewer of them than `evaluate.reliable_accuracy`; left out if there are none.

        A share of no pictures is left out.
    """
    if inputs.judge is None or not inputs.judge.classes:
        return {}
    training = inputs.train.attributes
    every = judged_attributes(inputs, inputs.real.attributes)
    raw = adherence(predicted(inputs, inputs.judged_real.labels), every, training=training)
    real = judged_attributes(inputs, inputs.requested(inputs.real_prompts))
    via = adherence(
        predicted(inputs, inputs.judged_reconstructions.labels), real, training=training
    )
    unreliable = [
        name
        for name, share in raw["adherence_by_attribute"].items()
        if share < inputs.reliable_accuracy
    ]
    shares = measure_adherence(inputs, inputs.prompts, inputs.judged_drawn.labels)
    if not shares:
        inputs.leave_out("adherence", "no prompt is a caption of the split that names attributes")
    floors = {
        f"{name}_real": via[name]
        for name in ("adherence", "adherence_unseen")
        if name in via and name in shares
    }
    marked = {"unreliable_attributes": ", ".join(unreliable)} if unreliable else {}
    return shares | floors | {"judge_accuracy": raw["adherence"]} | marked


def measure_adherence(
    inputs: Inputs, prompts: Sequence[Prompt], labels: np.ndarray
) -> dict[str, float]:
    """Return the adherence of pictures to their prompts, and its standard error.

    Args:
        inputs: A run with a judge of attributes.
        prompts: M prompts.
        labels: The classes that the judge predicts, (M, A) int64.
    """
    requested = judged_attributes(inputs, inputs.requested(prompts))
    found = predicted(inputs, labels)
    shares = adherence(found, requested, training=inputs.train.attributes)
    by_attribute = shares.pop("adherence_by_attribute", {})
    if shares:
        rows = [row for row, wanted in enumerate(requested) if wanted]
        groups = inputs.groups([prompts[row] for row in rows])
        right = np.array([is_right(found[row], requested[row]) for row in rows])
        shares["adherence_se"] = standard_error(right, groups)
    return shares | {f"adherence_{name}": share for name, share in by_attribute.items()}


def predicted(inputs: Inputs, labels: np.ndarray) -> list[dict[str, str]]:
    """Return the attributes that the judge predicts for M pictures."""
    return attributes_of(labels, inputs.judge.classes)


def judged_attributes(inputs: Inputs, attributes: Iterable[Attributes]) -> list[dict[str, str]]:
    """Return the attributes of M pictures without those that the judge does not know."""
    known = inputs.judge.classes
    return [{name: row[name] for name in row if name in known} for row in attributes]


def is_right(prediction: Attributes, request: Attributes) -> bool:
    """Return whether every requested attribute is predicted."""
    return all(prediction.get(name) == value for name, value in request.items())


def adherence(
    predicted: Sequence[Mapping[str, str]],
    requested: Sequence[Mapping[str, str]],
    *,
    training: Iterable[Mapping[str, str]],
) -> dict[str, Any]:
    """Return the share of pictures in which every requested attribute is recognised.

    Pictures without a requested attribute are left out. A picture's request is unseen if some pair
    of its values never occurs together in a training image, otherwise seen.

    Args:
        predicted: The attributes predicted for each of M pictures.
        requested: The attributes requested for each picture; one without a prediction is wrong.
        training: The attributes of every training image.

    Returns:
        "adherence": share of pictures with every requested attribute right; "adherence_seen" and
        "adherence_unseen": the same share among seen and among unseen requests;
        "adherence_by_attribute": share of right predictions, by attribute. A share of no pictures
        is left out.
    """
    rows = [(p, r) for p, r in zip(predicted, requested, strict=True) if r]
    known = {pair for attributes in training for pair in _pairs(attributes)}
    groups: dict[str, list[bool]] = {"adherence": [], "adherence_seen": [], "adherence_unseen": []}
    by_attribute: dict[str, list[bool]] = {}
    for prediction, request in rows:
        right = {name: prediction.get(name) == value for name, value in request.items()}
        group = "adherence_seen" if known.issuperset(_pairs(request)) else "adherence_unseen"
        groups["adherence"].append(all(right.values()))
        groups[group].append(all(right.values()))
        for name, is_right in right.items():
            by_attribute.setdefault(name, []).append(is_right)
    shares: dict[str, Any] = _shares(groups)
    if by_attribute:
        shares["adherence_by_attribute"] = _shares(dict(sorted(by_attribute.items())))
    return shares


def _pairs(attributes: Mapping[str, str]) -> set[tuple[tuple[str, str], ...]]:
    return set(combinations(sorted(attributes.items()), 2))


def _shares(groups: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    return {name: sum(group) / len(group) for name, group in groups.items() if group}
