"""Notes on what is not used of a data set, or only in part."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vqpriors.data.decoding import has_several_frames
from vqpriors.sources.base.source import Record


@dataclass
class Seen:
    """Numbers of written rows that are used only in part.

    Attributes:
        with_frames: Pictures with several frames or pages.
        with_captions: Pictures with several captions.
        without_caption: Pictures without any caption.
    """

    with_frames: int = 0
    with_captions: int = 0
    without_caption: int = 0

    def add(self, record: Record, row: Mapping[str, Any]) -> None:
        """Count a written row."""
        if isinstance(record.image, bytes):
            self.with_frames += has_several_frames(record.image)
        self.with_captions += bool(record.other_captions)
        self.without_caption += not row["caption"]

    def notes(self, captions: str, total: int, param: str) -> list[str]:
        """Return a note for each number that a user may not expect.

        Args:
            captions: `captions` of the data set's section.
            total: Number of written rows.
            param: The data set's section, such as "data.mnist".
        """
        notes = []
        if self.with_frames:
            notes.append(f"{self.with_frames:,} with several frames, of which the first is used")
        if self.with_captions and captions == "first":
            notes.append(
                f"{self.with_captions:,} with several captions, of which the first is used "
                f"({param}.captions)"
            )
        if captions == "random" and not self.with_captions:
            notes.append(f"no picture has several captions for {param}.captions: random")
        if 0 < self.without_caption < total:
            notes.append(f"{self.without_caption:,} without caption")
        return notes


def unused_splits(sizes: Mapping[str, int], used: Collection[str], param: str) -> list[str]:
    """Return a note for each of a source's splits from which no rows are taken."""
    return [
        f"split {split!r} ({size:,} rows) is not used ({param}.splits)"
        for split, size in sizes.items()
        if split not in used
    ]
