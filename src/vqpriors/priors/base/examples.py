"""Codes with captions as training examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vqpriors.core.arrays import StringColumn
from vqpriors.data.text_inputs import TextInput
from vqpriors.training.shuffling import ALL_ROWS

ENCODED_AT_ONCE = 20_000  # captions; more of them are encoded batch by batch


class TokenExamples:
    """Codes and encoded captions in memory; each distinct caption is encoded once.

    Args:
        codes: (M, N) integers.
        captions: The distinct captions, encoded or to be so; row 0 is the empty caption.
        caption_rows: The caption of each picture, (M,) int64 rows of `captions`.
        caption_dropout: Share of captions that training replaces by the empty one, which teaches
            the null condition of guidance.
        num_draws: Uniform draws an example that the prior takes.
    """

    def __init__(
        self,
        codes: np.ndarray,
        *,
        captions: "TextInput | Unencoded",
        caption_rows: Tensor,
        caption_dropout: float,
        num_draws: int = 0,
    ):
        self.codes = torch.from_numpy(codes)
        self.captions, self.caption_rows = captions, caption_rows
        self.caption_dropout, self.num_draws = caption_dropout, num_draws

    def __len__(self) -> int:
        return len(self.codes)

    def batch(
        self, rows: Tensor, generator: torch.Generator | None, *, part: slice = ALL_ROWS
    ) -> dict[str, Tensor]:
        """Return codes, captions and draws of a part of some rows; see `Examples`.

        Returns:
            "codes": (B, N) int64; "draws": (B, num_draws) float, uniform in 0..1; `TextInput`'s
            fields, prefixed by "text_"; "text_is_empty": (B,) bool.
        """
        chosen = self.caption_rows[rows]
        if generator is not None:
            is_dropped = torch.rand(len(rows), generator=generator) < self.caption_dropout
            chosen = chosen.masked_fill(is_dropped, 0)
        draws, chosen, rows = self._draw(rows, generator)[part], chosen[part], rows[part]
        text = self.captions.select(chosen)
        batch = {
            "codes": self.codes[rows].long(),
            "draws": draws,
            "text_tokens": text.tokens,
            "text_is_real": text.is_real,
            "text_is_empty": chosen == 0,
        }
        return batch if text.features is None else batch | {"text_features": text.features}

    def _draw(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            return torch.rand(len(rows), self.num_draws, generator=generator)
        # In evaluation an example's draws are its own, so that epochs can be compared.
        return self._fixed_draws[rows]

    @cached_property
    def _fixed_draws(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(len(self), self.num_draws, generator=generator)


def token_examples(
    codes: np.ndarray,
    captions: StringColumn,
    *,
    encode: Callable[[Sequence[str]], TextInput],
    dropout: float,
    num_draws: int = 0,
) -> TokenExamples:
    """Encode the distinct captions of some pictures and pair them with their codes.

    Args:
        codes: (M, N) integers.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        dropout: As `TokenExamples`.
        num_draws: As `TokenExamples`.
    """
    distinct = captions.distinct
    is_few = len(distinct) <= ENCODED_AT_ONCE
    return TokenExamples(
        codes,
        captions=encode(distinct.to_pylist()) if is_few else Unencoded(distinct, encode),
        caption_rows=torch.from_numpy(captions.rows),
        caption_dropout=dropout,
        num_draws=num_draws,
    )


@dataclass(frozen=True)
class Unencoded:
    """Captions, too many to keep encoded, that are encoded when a batch asks for them.

    Attributes:
        texts: The distinct ones.
        encode: A text encoder's method.
    """

    texts: pa.StringArray
    encode: Callable[[Sequence[str]], TextInput]

    def select(self, rows: Tensor) -> TextInput:
        """Encode the captions at some rows, (M,) int64."""
        return self.encode(self.texts.take(pa.array(rows.numpy())).to_pylist())
