"""Adherence: how often a classifier recognises the attributes that a prompt asks for.

Combinations of attributes that no training image has are counted separately. Drawing a red seven
after training on other red digits and on other sevens requires composition, not memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from vqpriors.data.samples import Prompt
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.judge.judging import judge_pixels
from vqpriors.judge.labels import attributes_of
from vqpriors.judge.network import Judge


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the adherence of drawn pictures and the judge's accuracy; {} without a judge.

    Returns:
        "adherence", "adherence_seen", "adherence_unseen" and "adherence_<attribute>" as in
        `adherence`; "judge_accuracy" and "judge_accuracy_unseen", the same shares of test pictures.
        A share of no pictures is left out.
    """
    if inputs.judge is None:
        return {}
    accuracy = adherence(
        _predicted(inputs.judge, inputs.real.pixels),
        inputs.real.attributes,
        training=inputs.train.attributes,
    )
    names = {"adherence": "judge_accuracy", "adherence_unseen": "judge_accuracy_unseen"}
    return {
        **{name: accuracy[key] for key, name in names.items() if key in accuracy},
        **measure_adherence(inputs, inputs.prompts, inputs.drawn),
    }


def measure_adherence(
    inputs: Inputs, prompts: Sequence[Prompt], pixels: np.ndarray
) -> dict[str, float]:
    """Return the adherence of pictures to their prompts.

    Args:
        inputs: A run with a judge.
        prompts: M prompts.
        pixels: (M, C, H, W) uint8.
    """
    assert inputs.judge is not None
    shares = adherence(
        _predicted(inputs.judge, pixels),
        inputs.requested(prompts),
        training=inputs.train.attributes,
    )
    by_attribute = shares.pop("adherence_by_attribute", {})
    return shares | {f"adherence_{name}": share for name, share in by_attribute.items()}


def _predicted(judge: Judge, pixels: np.ndarray) -> list[dict[str, str]]:
    return attributes_of(judge_pixels(judge, pixels)[1], judge.classes)


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
