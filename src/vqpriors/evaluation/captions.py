"""Caption accuracy: captions written by a model, compared word by word with the true ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from vqpriors.data.samples import read_captions
from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the accuracy of the captions that the prior wrote; {} if it wrote none."""
    written = read_captions(inputs.data / "samples")
    known = dict(zip(inputs.real.ids, inputs.real.attributes, strict=True))

    def normalised(texts: Sequence[str]) -> list[str]:
        return inputs.encoder.decode(inputs.encoder.encode(texts).tokens)

    groups = dict(zip(inputs.real.ids, inputs.real.groups, strict=True))
    return measure_captions(
        [row.written for row in written],
        normalised([row.caption for row in written]),
        [
            dict(zip(known[row.id], normalised(list(known[row.id].values())), strict=True))
            for row in written
        ],
        groups=[groups[row.id] for row in written],
    )


def measure_captions(
    written: Sequence[str],
    captions: Sequence[str],
    attributes: Sequence[Mapping[str, str]],
    *,
    groups: Sequence[str],
) -> dict[str, float]:
    """Return the share of exact captions and of captions with the right attributes.

    An attribute is right if the written caption has its value at every position where the true
    caption has it. An attribute whose value is not part of the true caption is left out.

    Args:
        written: M captions written by a model.
        captions: M true captions, with the same normalisation.
        attributes: The attributes of M pictures, values with the same normalisation.
        groups: The group of each picture; see `standard_error`.

    Returns:
        "caption_exact": share of captions equal to the true ones; "caption_accuracy": share of
        captions with every attribute right, with standard errors "caption_exact_se" and
        "caption_accuracy_se"; "caption_accuracy_<attribute>": share of captions with
        that attribute right. A share of no captions is left out.
    """
    if not written:
        return {}
    right = [
        _right(text.split(), caption.split(), row)
        for text, caption, row in zip(written, captions, attributes, strict=True)
    ]
    exact = [a == b for a, b in zip(written, captions, strict=True)]
    metrics = {"caption_exact": sum(exact) / len(exact)}
    metrics["caption_exact_se"] = standard_error(np.array(exact), groups)
    if known := [i for i, row in enumerate(right) if row]:
        every = np.array([all(right[i].values()) for i in known])
        metrics["caption_accuracy"] = float(every.mean())
        metrics["caption_accuracy_se"] = standard_error(every, [groups[i] for i in known])
    shares: dict[str, list[bool]] = {}
    for row in right:
        for name, value in sorted(row.items()):
            shares.setdefault(f"caption_accuracy_{name}", []).append(value)
    return metrics | {name: sum(share) / len(share) for name, share in shares.items()}


def _right(
    written: list[str], caption: list[str], attributes: Mapping[str, str]
) -> dict[str, bool]:
    found = {}
    for name, value in attributes.items():
        if places := _places(value.split(), caption):
            found[name] = all(written[place] == caption[place] for place in places)
    return found


def _places(words: list[str], caption: list[str]) -> list[slice]:
    """Return every position of some words in a caption; "a" may be a letter and an article."""
    if not words:
        return []
    places = [slice(i, i + len(words)) for i in range(len(caption) - len(words) + 1)]
    return [place for place in places if caption[place] == words]
