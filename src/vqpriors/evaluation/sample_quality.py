"""What the judge makes of drawn pictures, with what it makes of real ones beside it."""

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
    wanted: Sequence[Mapping[str, str]],
    real: np.ndarray,
    real_attributes: Sequence[Mapping[str, str]],
    training_attributes: Iterable[Mapping[str, str]],
) -> dict[str, float]:
    """Measure drawn pictures in the judge's eyes.

    Args:
        judge: A classifier of real training images.
        drawn: (M, C, H, W) uint8.
        wanted: The attributes each of them was to show; empty where unknown.
        real: Real test images, (R, C, H, W) uint8.
        real_attributes: Their attributes.
        training_attributes: Those of every training image.

    Returns:
        "judge_accuracy" and "judge_accuracy_unseen", the shares of real test images with every
        attribute recognised, beside which to read the same of drawn ones: "adherence",
        "adherence_seen", "adherence_unseen" and "adherence_<attribute>" as in `adherence`;
        "frechet_distance" and "kernel_distance" between drawn and real pictures in the judge's
        features. What can't be had is left out.
    """
    real_features, real_labels = judge_pixels(judge, real)
    drawn_features, drawn_labels = judge_pixels(judge, drawn)
    training = list(training_attributes)
    recognised = attributes_of(real_labels, judge.classes)
    accuracy = adherence(recognised, real_attributes, training=training)
    shown = attributes_of(drawn_labels, judge.classes)
    shares = adherence(shown, wanted, training=training)
    by_attribute = shares.pop("adherence_by_attribute", {})
    named = {"adherence": "judge_accuracy", "adherence_unseen": "judge_accuracy_unseen"}
    return {
        **{name: accuracy[key] for key, name in named.items() if key in accuracy},
        **shares,
        **{f"adherence_{name}": share for name, share in by_attribute.items()},
        "frechet_distance": frechet_distance(drawn_features, real_features),
        "kernel_distance": kernel_distance(drawn_features, real_features),
    }


def wanted_attributes(
    prompts: Iterable[tuple[str, str]], known: Mapping[str, Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """Look up what prompts ask for, by the picture they come from, else by an equal caption.

    Args:
        prompts: Picture id, "" for none, and caption of each.
        known: Attributes by picture id and by caption.
    """
    return [known.get(picture or caption, {}) for picture, caption in prompts]
