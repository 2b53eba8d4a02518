"""What measures read: real and drawn pictures of a run, and its models, loaded when needed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from torch import nn

from vqpriors.core.arrays import StringColumn
from vqpriors.core.artifact import verify
from vqpriors.core.hardware import best_device
from vqpriors.data.images import ImageSet, read_images
from vqpriors.data.samples import HeldOut, Prompt, read_samples
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import TokenSet, read_tokens
from vqpriors.evaluation.base.errors import group_index
from vqpriors.judge.base.judge import load_judge
from vqpriors.judge.base.judging import Judged, judge_pixels
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.coding import decode_codes
from vqpriors.tokenizer.base.loading import load_tokenizer

# What does not depend on the drawn pictures.
_OF_REAL_PICTURES = ("train", "real", "tokens", "reconstructions", "halves", "encoder")
_OF_REAL_PICTURES += ("_tokenizer", "_judge")
_JUDGED = ("judged_train", "judged_real", "judged_reconstructions")

MIN_COMPARED = 50  # fewer pictures say more about their number than about what they show


class Fold(NamedTuple):
    """Sets to compare: drawn from the captions of one half of a split, real from the other half.

    Drawn pictures must not be compared with the pictures whose captions they were drawn from: equal
    captions would make the sets more alike than independent ones. The floor is the same comparison
    with real pictures of the first half, encoded and decoded by the tokenizer, in place of the
    drawn ones: what a perfect prior would score.

    Attributes:
        reference: Rows of the evaluated split to compare with, (R,) int64.
        floor: Rows of the evaluated split whose captions are the prompts, (M,) int64.
        drawn: Rows of the drawn pictures of these prompts, (M,) int64 for each draw.
    """

    reference: np.ndarray
    floor: np.ndarray
    drawn: list[np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """The outputs of a run's stages.

    Attributes:
        data: Folder with the outputs of all stages.
        split: The split that is evaluated.
        batch_size: Pictures at a time; affects memory only.
        bound_samples: Masks per picture for the likelihood bound of masked priors.
        bootstrap_samples: Bootstrap samples for standard errors.
        reliable_accuracy: Accuracy below which the judge's answers on an attribute are marked.
        seed: Seed of a measure's random numbers.
        left_out: What was not measured, and why; filled by `leave_out`.
    """

    data: Path
    split: HeldOut
    batch_size: int
    bound_samples: int
    bootstrap_samples: int
    reliable_accuracy: float
    seed: int
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, what: str, why: str) -> None:
        """Note that something is not measured; `evaluate` prints it."""
        self.left_out.append(f"{what}: left out: {why}")

    def with_samples(
        self, prompts: list[Prompt], *, pixels: np.ndarray, codes: np.ndarray
    ) -> "Inputs":
        """Return inputs with other drawn pictures; the real ones are read and judged only once.

        Args:
            prompts: M prompts.
            pixels: Their pictures, (M, C, H, W) uint8.
            codes: Their codes, (M, N) integers.
        """
        names = _OF_REAL_PICTURES + (_JUDGED if self.judge is not None else ())
        other = replace(self, left_out=[])
        vars(other).update({name: getattr(self, name) for name in names})
        captions, ids = (
            StringColumn(pa.chunked_array([pa.array(texts, pa.string())]))
            for texts in ([p.caption for p in prompts], [p.id for p in prompts])
        )
        vars(other)["_samples"] = (prompts, pixels, TokenSet(self.spec, ids, captions, codes))
        return other

    @cached_property
    def train(self) -> ImageSet:
        """Training pictures."""
        return read_images(self.data / "images", "train")

    @cached_property
    def real(self) -> ImageSet:
        """Pictures of the evaluated split."""
        return read_images(self.data / "images", self.split)

    @cached_property
    def tokens(self) -> TokenSet:
        """Codes of the pictures of the evaluated split."""
        return self._read_tokens(self.split)

    @cached_property
    def reconstructions(self) -> np.ndarray:
        """Pictures of the evaluated split via the tokenizer, (M, C, H, W) uint8."""
        return self.decode(self.tokens.codes)

    @cached_property
    def train_reconstructions(self) -> np.ndarray:
        """Training pictures via the tokenizer, (M, C, H, W) uint8."""
        return self.decode(self._read_tokens("train").codes)

    @property
    def spec(self) -> TokenSpec:
        """Grid and codebook of the codes."""
        return self._tokenizer[1]

    @property
    def prompts(self) -> list[Prompt]:
        """Prompts of the drawn pictures."""
        return self._samples[0]

    @property
    def drawn(self) -> np.ndarray:
        """Drawn pictures, (M, C, H, W) uint8."""
        return self._samples[1]

    @property
    def drawn_codes(self) -> np.ndarray:
        """Codes of the drawn pictures, (M, N) uint16."""
        return self._samples[2].codes

    @cached_property
    def draws(self) -> list[np.ndarray]:
        """Rows of the drawn pictures whose prompts are captions of the evaluated split, by draw.

        Each draw has one picture for each of those prompts, in the same order.
        """
        count: dict[str, int] = {}
        draws: list[list[int]] = []
        for row, prompt in enumerate(self.prompts):
            if prompt.id:
                number = count[prompt.id] = count.get(prompt.id, -1) + 1
                if number == len(draws):
                    draws.append([])
                draws[number].append(row)
        return [np.array(rows) for rows in draws]

    @cached_property
    def halves(self) -> np.ndarray:
        """The half of the evaluated split, 0 or 1, that each picture is in; (M,) int64.

        Pictures of one group are in the same half.
        """
        groups = group_index(self.real.groups)
        sizes = np.bincount(groups)
        order = np.random.default_rng(self.seed).permutation(len(sizes))
        totals, half = [0, 0], np.zeros(len(sizes), dtype=np.int64)
        for group in order.tolist():
            smaller = int(totals[0] > totals[1])
            half[group] = smaller
            totals[smaller] += int(sizes[group])
        return half[groups]

    @cached_property
    def folds(self) -> list[Fold]:
        """The two comparisons of sets; empty if there are too few pictures."""
        if self.num_compared < MIN_COMPARED:
            return []
        rows = [
            np.array([self._row_by_id[self.prompts[i].id] for i in draw]) for draw in self.draws
        ]
        return [
            Fold(
                np.flatnonzero(self.halves == half),
                rows[0][self.halves[rows[0]] != half],
                [
                    draw[self.halves[own] != half]
                    for draw, own in zip(self.draws, rows, strict=True)
                ],
            )
            for half in (0, 1)
        ]

    @property
    def num_compared(self) -> int:
        """Number of drawn pictures in both comparisons of sets together, for each draw."""
        return len(self.draws[0]) if self.draws else 0

    @property
    def why_not_compared(self) -> str:
        """The reason for `folds` to be empty."""
        return (
            f"needs {MIN_COMPARED} prompts that are captions of the {self.split} split, "
            f"got {self.num_compared}"
        )

    @property
    def judge(self) -> Any:
        """The judge, a `Judge`; None if there is none."""
        return self._judge[0]

    @property
    def judge_name(self) -> str:
        """First digits of the judge's fingerprint; only metrics of equal judges compare."""
        return self._judge[1][:12]

    @cached_property
    def judged_train(self) -> Judged:
        """What the judge computes of the training pictures."""
        return self.judged(self.train.pixels)

    @cached_property
    def judged_real(self) -> Judged:
        """What the judge computes of the pictures of the evaluated split."""
        return self.judged(self.real.pixels)

    @cached_property
    def judged_reconstructions(self) -> Judged:
        """What the judge computes of the pictures of the evaluated split via the tokenizer."""
        return self.judged(self.reconstructions)

    @cached_property
    def judged_drawn(self) -> Judged:
        """What the judge computes of the drawn pictures."""
        return self.judged(self.drawn)

    @cached_property
    def prior(self) -> Any:
        """The prior, a `Prior`."""
        return load_prior(
            self.data / "prior",
            best_device(),
            tokenizer=self.spec.fingerprint,
            encoder=verify(self.data / "text"),
        )

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder."""
        return load_encoder(self.data / "text")

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decode (M, N) integer codes to (M, C, H, W) uint8 pixels."""
        model = self._tokenizer[0]
        return decode_codes(model, codes, batch_size=self.batch_size, precision="no")

    def judged(self, pixels: np.ndarray) -> Judged:
        """Apply the judge, which must exist, to (M, C, H, W) uint8 pictures."""
        return judge_pixels(self.judge, pixels, batch_size=self.batch_size)

    @cached_property
    def known_prompts(self) -> list[bool]:
        """Whether each prompt is a caption of the evaluated split."""
        return [row is not None for row in self._real_rows(self.prompts)]

    def requested(self, prompts: Sequence[Prompt]) -> list[dict[str, str]]:
        """Return the attributes that prompts ask for: those of the picture that they name."""
        if not self.reads_text:
            return [{} for _ in prompts]
        return [
            {}
            if row is None
            else {k: v for k, v in self.real.attributes[row].items() if _names(prompt.caption, v)}
            for prompt, row in zip(prompts, self._real_rows(prompts), strict=True)
        ]

    @cached_property
    def reads_text(self) -> bool:
        """Whether the prior reads captions."""
        return self.encoder.shape.length > 0

    @cached_property
    def real_prompts(self) -> list[Prompt]:
        """The captions of the evaluated split as prompts."""
        return [Prompt(*each) for each in zip(self.real.captions, self.real.ids, strict=True)]

    @cached_property
    def real_labels(self) -> Sequence[str | None]:
        """Classes of the evaluated split's pictures; all None if captions do not ask for them."""
        return self.real.labels if self._asks_for_classes else [None] * len(self.real)

    @cached_property
    def train_labels(self) -> Sequence[str | None]:
        """Classes of the training pictures; all None if captions do not ask for them."""
        return self.train.labels if self._asks_for_classes else [None] * len(self.train)

    def labels(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """Return the class that prompts ask for; None for a prompt with an unknown one."""
        rows = self._real_rows(prompts)
        return [None if row is None else self.real_labels[row] for row in rows]

    @cached_property
    def _asks_for_classes(self) -> bool:
        pairs = zip(self.real.captions, self.real.labels, strict=True)
        return self.reads_text and all(
            label is None or _names(text, label) for text, label in pairs
        )

    def groups(self, prompts: Iterable[Prompt]) -> list[str]:
        """Return the group of the picture that each prompt was taken from, or its caption."""
        return [self._groups[p.id] if p.id else p.caption for p in prompts]

    def _real_rows(self, prompts: Sequence[Prompt]) -> list[int | None]:
        """Return the picture of each prompt, or any picture with that caption, as a row."""
        return [
            self._row_by_id[p.id] if p.id else self._row_by_caption.get(p.caption) for p in prompts
        ]

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.real.ids)}

    @cached_property
    def _row_by_caption(self) -> dict[str, int]:
        return {caption: row for row, caption in enumerate(self.real.captions)}

    @cached_property
    def _groups(self) -> dict[str, str]:
        return dict(zip(self.real.ids, self.real.groups, strict=True))

    def _read_tokens(self, split: str) -> TokenSet:
        return read_tokens(self.data / "tokens", split, tokenizer=self.spec.fingerprint)

    @cached_property
    def _tokenizer(self) -> tuple[nn.Module, TokenSpec]:
        return load_tokenizer(self.data / "tokenizer", best_device())

    @cached_property
    def _judge(self) -> tuple[Any, str]:
        return load_judge(self.data / "judge", best_device())

    @cached_property
    def _samples(self) -> tuple[list[Prompt], np.ndarray, TokenSet]:
        return read_samples(self.data / "samples", tokenizer=self.spec.fingerprint)


def _names(caption: str, value: str) -> bool:
    """Return whether a caption has the words of a value, in any case."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", caption, re.IGNORECASE) is not None
