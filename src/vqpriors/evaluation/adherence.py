"""Whether pictures show what was asked for, as far as a judge can tell.

Combinations of attributes that no training image has are counted apart: drawing a red seven after
red digits and sevens, but no red seven, is composition and not recall.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any


def adherence(
    predicted: Sequence[Mapping[str, str]],
    wanted: Sequence[Mapping[str, str]],
    *,
    training: Iterable[Mapping[str, str]],
) -> dict[str, Any]:
    """Return the shares of pictures that the judge takes for what was wanted.

    Rows that want nothing are left out. A row is unseen when some pair of its wanted values never
    occurs together in a training image, else seen.

    Args:
        predicted: The judge's attributes of each of M pictures.
        wanted: The attributes asked for of each; an attribute that isn't predicted counts as wrong.
        training: The attributes of every training image.

    Returns:
        "adherence": share of rows with every wanted attribute right; "adherence_seen" and
        "adherence_unseen": the same of those rows alone; "adherence_by_attribute": share of rows
        with it right, by attribute. What has no row has no key.
    """
    rows = [(p, w) for p, w in zip(predicted, wanted, strict=True) if w]
    known = {pair for attributes in training for pair in _pairs(attributes)}
    groups: dict[str, list[bool]] = {"adherence": [], "adherence_seen": [], "adherence_unseen": []}
    by_attribute: dict[str, list[bool]] = {}
    for prediction, wish in rows:
        right = {name: prediction.get(name) == value for name, value in wish.items()}
        group = "adherence_seen" if known.issuperset(_pairs(wish)) else "adherence_unseen"
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
