"""Whether written captions say what is to be seen, word by word beside the pictures' own."""

from collections.abc import Mapping, Sequence


def measure_captions(
    written: Sequence[str], captions: Sequence[str], attributes: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Compare captions.

    An attribute is right where its value stands at every place that it has in the picture's own
    caption; one whose value does not occur there is left out.

    Args:
        written: M texts.
        captions: The pictures' own, M texts, normalised alike.
        attributes: The pictures' attributes, values normalised alike.

    Returns:
        "caption_exact": share of texts equal to the own ones; "caption_accuracy": share with every
        attribute right, and "caption_accuracy_<attribute>" of each. What has no row has no key.
    """
    if not written:
        return {}
    right = [
        _right(text.split(), caption.split(), row)
        for text, caption, row in zip(written, captions, attributes, strict=True)
    ]
    shares: dict[str, list[bool]] = {
        "caption_exact": [a == b for a, b in zip(written, captions, strict=True)],
        "caption_accuracy": [all(row.values()) for row in right if row],
    }
    for row in right:
        for name, is_right in sorted(row.items()):
            shares.setdefault(f"caption_accuracy_{name}", []).append(is_right)
    return {name: sum(share) / len(share) for name, share in shares.items() if share}


def _right(
    written: list[str], caption: list[str], attributes: Mapping[str, str]
) -> dict[str, bool]:
    found = {}
    for name, value in attributes.items():
        if places := _places(value.split(), caption):
            found[name] = all(written[place] == caption[place] for place in places)
    return found


def _places(words: list[str], caption: list[str]) -> list[slice]:
    """Find words in a caption, all of their places: a letter "a" stands beside an article."""
    if not words:
        return []
    places = [slice(i, i + len(words)) for i in range(len(caption) - len(words) + 1)]
    return [place for place in places if caption[place] == words]
