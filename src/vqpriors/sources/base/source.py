"""Contract of sources: data sets of pictures with captions, labels and attributes.

To add a source, add one module or folder to `vqpriors.sources`, and to params.yaml a data set that
uses it: a section `data.<name>` with `source: <module>` and the source's own params in
`data.<name>.<module>`. The module exports:

    Config: a `Section` with the keys of `data.<name>.<module>`.
    build(config, *, seed, param) -> Source: raises a ValueError of the form
        `<param>.<key>: <problem>; <fix>` if the data is missing or unusable. `seed` is the seed of
        all random choices, `param` the dotted path of the config.

A source yields pictures unchanged. Decoding, resizing, splits, caption templates and the
quarantine of bad rows are the same for all sources (`preparing.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image


@dataclass(frozen=True)
class Record:
    """One picture of a source.

    Attributes:
        id: Unique within the source, and the same on every run.
        image: Encoded bytes, or a picture that the source has drawn; None if the bytes are missing,
            which makes it a bad row.
        caption: Its caption, if any; the first of several.
        label: Name of its class, if any.
        attributes: Values of named attributes, such as {"color": "red"}, which the judge learns to
            classify; may be empty.
        group: Name shared by all pictures that were made from one original, such as copies of one
            glyph; None for a picture of its own.
        other_captions: Its captions after the first.
        problem: Why it is a bad row, such as a missing file; None if that is not known.
    """

    id: str
    image: bytes | Image.Image | None
    caption: str | None
    label: str | None
    attributes: Mapping[str, str]
    group: str | None = None
    other_captions: tuple[str, ...] = ()
    problem: str | None = None


def with_label(attributes: Mapping[str, str], label: str | None) -> Mapping[str, str]:
    """Add the class to the attributes of a record as "label", unless one of them has that name.

    Without other attributes, the class is one anyway.
    """
    return attributes if label is None else {"label": label, **attributes}


class Source(Protocol):
    """A data set with splits.

    Attributes:
        notes: What it does not use of what it has found, for the user; short sentences.
    """

    notes: Sequence[str]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of records of each split, by the source's name of the split."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Version of the data, such as the resolved commit or a content hash; JSON values."""
        ...

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the records at the given rows of a split; row numbers are from 0 and ascending."""
        ...
