"""Training examples of priors: codes with encoded captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vqpriors.core.arrays import StringColumn
from vqpriors.data.text_inputs import TextInput
from vqpriors.data.tokens import CaptionLists
from vqpriors.training.shuffling import ALL_ROWS

MAX_ENCODED_CAPTIONS = 20_000  # kept in memory; more captions are encoded batch by batch


class TokenExamples:
    """Codes and encoded captions in memory; each distinct caption is encoded once.

    Args:
        codes: (M, N) integers.
        captions: The distinct captions, encoded or encoded on demand; row 0 is the empty caption.
        caption_rows: The caption of each picture, (M,) int64 rows of `captions`; with `starts`, the
            captions of all pictures, picture by picture, (T,) int64.
        caption_dropout: Probability of replacing a caption by the empty one in training, which
            trains the null condition of guidance.
        num_draws: Uniform draws per example that the prior takes.
        starts: Place in `caption_rows` of each picture's first caption, and the end, (M + 1,)
            int64; None if each has one. Training draws one of a picture's captions for each batch,
            evaluation takes the first.
    """

    def __init__(
        self,
        codes: np.ndarray,
        *,
        captions: "TextInput | LazyCaptions",
        caption_rows: Tensor,
        caption_dropout: float,
        num_draws: int = 0,
        starts: Tensor | None = None,
    ):
        self.codes = torch.from_numpy(codes)
        self.captions, self.caption_rows = captions, caption_rows
        self.caption_dropout, self.num_draws = caption_dropout, num_draws
        self.starts = starts

    def __len__(self) -> int:
        return len(self.codes)

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = ALL_ROWS
    ) -> dict[str, Tensor]:
        """Return the batch of some rows, or a part of it; see `Examples`.

        Returns:
            "codes": (B, N) int64; "draws": (B, num_draws) float, uniform in 0..1; the fields of
            `TextInput`: "text_tokens", "text_mask" and, with features, "text_features";
            "text_is_empty": (B,) bool; "place": (B,) int64, the rows' places among `rows`;
            "batch_size": (B,) int64, the number of `rows`, B times.
        """
        chosen = self.caption_rows[self._places(rows, generator)]
        if generator is not None:
            is_dropped = torch.rand(len(rows), generator=generator) < self.caption_dropout
            chosen = chosen.masked_fill(is_dropped, 0)
        place, batch_size = torch.arange(len(rows))[part], len(rows)
        draws, chosen, rows = self._draw(rows, generator)[part], chosen[part], rows[part]
        text = self.captions.select(chosen)
        batch = {
            "codes": self.codes[rows].long(),
            "draws": draws,
            "text_tokens": text.tokens,
            "text_mask": text.text_mask,
            "text_is_empty": chosen == 0,
            "place": place,
            "batch_size": torch.full_like(place, batch_size),
        }
        return batch if text.features is None else batch | {"text_features": text.features}

    def _places(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the place in `caption_rows` of a caption of each row, (B,) int64."""
        if self.starts is None:
            return rows
        first, num_captions = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        if generator is None:
            return first
        draws = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        return first + (draws * num_captions).long()

    def _draw(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            return torch.rand(len(rows), self.num_draws, generator=generator)
        # In evaluation each example has fixed draws, so that epochs can be compared.
        return self._fixed_draws[rows]

    @cached_property
    def _fixed_draws(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(len(self), self.num_draws, generator=generator)


def token_examples(
    codes: np.ndarray,
    captions: StringColumn | CaptionLists,
    *,
    encode: Callable[[Sequence[str]], TextInput],
    dropout: float,
    num_draws: int = 0,
) -> TokenExamples:
    """Encode the distinct captions of pictures and pair them with the codes.

    Args:
        codes: (M, N) integers.
        captions: M captions, or several of each picture, of which training draws one.
        encode: A text encoder's `encode`.
        dropout: `caption_dropout` of `TokenExamples`.
        num_draws: As in `TokenExamples`.
    """
    texts = captions if isinstance(captions, StringColumn) else captions.texts
    starts = None if isinstance(captions, StringColumn) else torch.from_numpy(captions.starts)
    distinct = texts.distinct
    is_few = len(distinct) <= MAX_ENCODED_CAPTIONS
    return TokenExamples(
        codes,
        captions=encode(distinct.to_pylist()) if is_few else LazyCaptions(distinct, encode),
        caption_rows=torch.from_numpy(texts.rows),
        caption_dropout=dropout,
        num_draws=num_draws,
        starts=starts,
    )


@dataclass(frozen=True)
class LazyCaptions:
    """Distinct captions that are encoded when a batch needs them, for less memory.

    Attributes:
        texts: The captions.
        encode: A text encoder's `encode`.
    """

    texts: pa.StringArray
    encode: Callable[[Sequence[str]], TextInput]

    def select(self, rows: Tensor) -> TextInput:
        """Encode the captions at some rows, (M,) int64."""
        return self.encode(self.texts.take(pa.array(rows.numpy())).to_pylist())
