"""The contract of a source of pictures.

A source module exports `Config` (a `Section`) and `build(config, *, seed, param) -> Source`, where
`param` is the dotted path of the config, for errors. It yields encoded or drawn pictures with
their captions, labels and attributes; decoding, resizing, splits and caption templates are the
same for every source.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image


@dataclass(frozen=True)
class Record:
    """One picture as its source has it.

    Attributes:
        id: Unique within the source, and the same on every run.
        image: Encoded bytes as found, or pixels that the source has drawn; None where the source
            has no bytes, which makes it a bad row.
        caption: Its caption; None where the source has none.
        label: The name of its class; None where the source has none.
        attributes: Named facts that a judge can learn, such as {"color": "red"}; empty where the
            source has none.
    """

    id: str
    image: bytes | Image.Image | None
    caption: str | None
    label: str | None
    attributes: Mapping[str, str]


class Source(Protocol):
    """Where pictures come from."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of records of each split that the source has, by its own name of the split."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the pictures were made from: the resolved commit or a content hash; JSON values."""
        ...

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the records at some rows, ascending, of one of the source's splits."""
        ...
