"""Class labels: conversion between attributes by name and a matrix of class indices."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

UNKNOWN = -1


def class_lists(attributes: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the sorted values of each attribute with at least two, attributes sorted by name.

    An attribute with a single value can't be judged wrong: it is left out.

    Args:
        attributes: The attributes of every training picture.

    Returns:
        Class names by attribute; may be empty.
    """
    values: dict[str, set[str]] = {}
    for row in attributes:
        for name, value in row.items():
            values.setdefault(name, set()).add(value)
    return {name: sorted(values[name]) for name in sorted(values) if len(values[name]) > 1}


def label_matrix(
    attributes: Sequence[Mapping[str, str]], classes: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """Convert attributes to class indices.

    Args:
        attributes: The attributes of M pictures of any split.
        classes: Class names of A attributes, from `class_lists`.

    Returns:
        A column for each attribute in sorted order, -1 where it is missing or its value is not
        one of the classes; (M, A) int64.
    """
    columns = [
        [indices.get(row.get(name), UNKNOWN) for row in attributes]
        for name, indices in _indices(classes).items()
    ]
    return np.array(columns, dtype=np.int64).reshape(len(classes), len(attributes)).T


def attributes_of(labels: np.ndarray, classes: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Convert class indices back to attributes.

    Args:
        labels: A column for each attribute in sorted order, -1 if unknown; (M, A) int64.
        classes: Class names of A attributes, from `class_lists`.

    Returns:
        The known attributes of M pictures.
    """
    names = sorted(classes)
    rows: list[list[int]] = labels.tolist()
    return [
        {name: classes[name][i] for name, i in zip(names, row, strict=True) if i != UNKNOWN}
        for row in rows
    ]


def _indices(classes: Mapping[str, Sequence[str]]) -> dict[str, dict[str | None, int]]:
    return {name: {value: i for i, value in enumerate(classes[name])} for name in sorted(classes)}
