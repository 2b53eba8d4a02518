"""Sample quality under the judge: adherence of drawn pictures and distances to real ones."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vqpriors.evaluation.adherence import adherence
from vqpriors.evaluation.distances import frechet_distance, kernel_distance
from vqpriors.judge.judging import judge_pixels
from vqpriors.judge.labels import attributes_of
from vqpriors.judge.network import Judge


def measure_samples(
    judge: Judge,
    *,
    drawn: np.ndarray,
    requested: Sequence[Mapping[str, str]],
    real: np.ndarray,
    real_attributes: Sequence[Mapping[str, str]],
    training_attributes: Iterable[Mapping[str, str]],
) -> dict[str, float]:
    """Measure drawn pictures with the judge, and the judge's accuracy on real pictures.

    Args:
        judge: A classifier of real training images.
        drawn: (M, C, H, W) uint8.
        requested: The attributes requested for each drawn picture; empty if unknown.
        real: Real test images, (R, C, H, W) uint8.
        real_attributes: The attributes of the real test images.
        training_attributes: The attributes of every training image.

    Returns:
        Of real pictures: "judge_accuracy", the share with every attribute classified correctly,
        and "judge_accuracy_unseen", that share among combinations of attributes that no training
        image has. They are the upper limits of adherence.

        Of drawn pictures: "adherence", "adherence_seen", "adherence_unseen" and
        "adherence_<attribute>" as in `adherence`; "frechet_distance" and "kernel_distance" to the
        real pictures, in the judge's features.

        A share of no pictures is left out.
    """
    real_features, real_labels = judge_pixels(judge, real)
    drawn_features, drawn_labels = judge_pixels(judge, drawn)
    training = list(training_attributes)
    in_real = attributes_of(real_labels, judge.classes)
    accuracy = adherence(in_real, real_attributes, training=training)
    in_drawn = attributes_of(drawn_labels, judge.classes)
    shares = adherence(in_drawn, requested, training=training)
    by_attribute = shares.pop("adherence_by_attribute", {})
    names = {"adherence": "judge_accuracy", "adherence_unseen": "judge_accuracy_unseen"}
    return {
        **{name: accuracy[key] for key, name in names.items() if key in accuracy},
        **shares,
        **{f"adherence_{name}": share for name, share in by_attribute.items()},
        "frechet_distance": frechet_distance(drawn_features, real_features),
        "kernel_distance": kernel_distance(drawn_features, real_features),
    }


def requested_attributes(
    prompts: Iterable[tuple[str, str]], known: Mapping[str, Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """Look up the attributes that prompts ask for, by picture id, otherwise by caption.

    Args:
        prompts: Id of the picture that a prompt was taken from, "" for none, and its caption.
        known: Attributes by picture id and by caption.

    Returns:
        The attributes of each prompt; empty if neither is known.
    """
    return [known.get(picture or caption, {}) for picture, caption in prompts]
