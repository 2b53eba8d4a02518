"""Disjoint train, validation and test splits of a source, determined by a seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, model_validator

from vqpriors.core.params import Section

AUTO = "auto"


class Splits(Section):
    """The source's split from which each split is taken.

    Attributes:
        train: Name of the source's split.
        validation: Name of the source's split; None for a share of `train`; "auto" for the source's
            split "validation" if it has one, else a share.
        test: As `validation`.
        validation_share: Share of `train` to cut for the validation, 0 to 1.
        test_share: Share of `train` to cut for the test, 0 to 1.
    """

    train: str
    validation: str | None
    test: str | None
    validation_share: float = Field(gt=0, lt=1)
    test_share: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _disjoint(self) -> "Splits":
        splits = (self.train, self.validation, self.test)
        named = [split for split in splits if split is not None and split != AUTO]
        if len(set(named)) < len(named):
            raise ValueError(
                f"must be distinct, got {_repeated(named)!r} twice (null takes a share of train)"
            )
        return self


@dataclass(frozen=True)
class Selection:
    """Rows of one of the source's splits: its name and row numbers from 0."""

    source_split: str
    rows: list[int]


def select(
    sizes: Mapping[str, int], splits: Splits, *, limit: int | None, seed: int, param: str
) -> dict[str, Selection]:
    """Select the rows of train, validation and test.

    Args:
        sizes: Number of rows of each of the source's splits.
        splits: The source's split from which each split is taken.
        limit: Maximum number of rows of each split, a random subset; None for all.
        seed: Seed of all random choices.
        param: The data set's section, such as "data.mnist", for errors.

    Returns:
        The selection of each split, rows ascending.

    Raises:
        ValueError: If the source lacks a split, or a selection is empty.
    """
    splits = _resolved(sizes, splits)
    pools = _pools(sizes, splits, seed, param)
    return {
        split: Selection(pool.source_split, sorted(pool.rows[:limit]))
        for split, pool in pools.items()
    }


def _resolved(sizes: Mapping[str, int], splits: Splits) -> Splits:
    """Replace "auto" by the source's split of that name, or None."""
    free = {*sizes} - {splits.train, splits.validation, splits.test}
    found = {
        split: split if split in free else None
        for split in ("validation", "test")
        if getattr(splits, split) == AUTO
    }
    return splits.model_copy(update=found)


def _pools(sizes: Mapping[str, int], splits: Splits, seed: int, param: str) -> dict[str, Selection]:
    """Return all rows of each split in random order, so that a limit can take the first ones."""
    rest = _shuffled(_size(sizes, splits.train, f"{param}.splits.train"), splits.train, seed)
    cuts = {
        split: round(share * len(rest))
        for split, share in (("validation", splits.validation_share), ("test", splits.test_share))
    }
    pools = {}
    for split, source_split in (("validation", splits.validation), ("test", splits.test)):
        if source_split is None:
            pools[split] = Selection(splits.train, rest[: cuts[split]])
            rest = rest[cuts[split] :]
        else:
            size = _size(sizes, source_split, f"{param}.splits.{split}")
            pools[split] = Selection(source_split, _shuffled(size, source_split, seed))
    pools = {"train": Selection(splits.train, rest), **pools}
    for split, pool in pools.items():
        _refuse_empty(split, pool, getattr(splits, split), param)
    return pools


def _size(sizes: Mapping[str, int], split: str, param: str) -> int:
    if split not in sizes:
        raise ValueError(
            f"{param}: the source has no split {split!r}; choose one of {', '.join(sizes)}"
        )
    return sizes[split]


def _refuse_empty(split: str, pool: Selection, named: str | None, param: str) -> None:
    if pool.rows:
        return
    if named is None:
        key = f"{param}.splits.{split}_share"
        raise ValueError(f"{key}: too small: leaves no row of {pool.source_split!r} for {split}")
    raise ValueError(
        f"{param}.splits.{split}: no rows left in {named!r} of the source; "
        "name another split, or lower validation_share or test_share"
    )


def _shuffled(count: int, split: str, seed: int) -> list[int]:
    """Shuffle row indices by a hash of the arguments, the same on every machine."""

    def rank(row: int) -> bytes:
        return hashlib.sha256(f"{seed}/{split}/{row}".encode()).digest()

    return sorted(range(count), key=rank)


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
