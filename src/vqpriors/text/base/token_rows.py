"""Captions as rows of token ids, and back."""

import re
from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

FILE = "tokenizer.json"

# Gaps that a tokenizer leaves around punctuation: "seven , big" "t - shirt" "man ' s" "man 's".
_GAPS = (
    (re.compile(r" (?=[.,:;!?)])|(?<=\() "), ""),
    (re.compile(r"(?<=\w) - (?=\w)"), "-"),
    (re.compile(r"(?<=\w) ?' ?(?=(?:s|t|m|d|re|ve|ll)\b)"), "'"),
)


class TokenRows:
    """Writes a caption as a start token, the pieces of its words, an end token if any, padding.

    A special token's name in a caption is text like any other.

    Args:
        tokenizer: One that adds no tokens of its own and knows no special ones; see `bare`.
        length: Most tokens L of a caption, start and end included.
        start: Name of the start token.
        pad: Name of the padding; a text ends at the first one.
        end: Name of the end token; "" for none.
        special: Names of all tokens that are no text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        length: int,
        start: str,
        pad: str,
        end: str = "",
        special: Collection[str],
    ):
        vocabulary = tokenizer.get_vocab()
        self.tokenizer, self.length = tokenizer, length
        self.start, self.pad = vocabulary[start], vocabulary[pad]
        self.end = [vocabulary[end]] if end else []
        self.vocabulary = max(vocabulary.values()) + 1
        self.words = frozenset(i for name, i in vocabulary.items() if name not in special)

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode B captions; what exceeds L is cut off.

        Returns:
            The tokens, (B, L) int64, and False at padding, (B, L) bool.
        """
        tokens = torch.full((len(captions), self.length), self.pad)
        text_mask = torch.zeros(tokens.shape, dtype=torch.bool)
        room = self.length - 1 - len(self.end)
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(captions))):
            ids = [self.start, *encoding.ids[:room], *self.end]
            tokens[row, : len(ids)] = torch.tensor(ids)
            text_mask[row, : len(ids)] = True
        return tokens, text_mask

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the texts of B rows up to the first padding, whatever ids they hold.

        Args:
            tokens: (B, L) int64.
        """
        texts = self.tokenizer.decode_batch([self._text(row) for row in tokens.tolist()])
        return [_close_gaps(text) for text in texts]

    def save(self, folder: Path) -> None:
        """Write the tokenizer, with the length as its truncation."""
        self.tokenizer.enable_truncation(self.length)
        self.tokenizer.save(str(folder / FILE))
        self.tokenizer.no_truncation()

    def _text(self, row: list[int]) -> list[int]:
        written = takewhile(lambda token: token != self.pad, row)
        return [token for token in written if token in self.words]


def read_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """Read the tokenizer and the length that `TokenRows.save` wrote."""
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    length = tokenizer.truncation["max_length"]  # pyright: ignore[reportOptionalSubscript]
    tokenizer.no_truncation()
    return tokenizer, length


def bare(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a tokenizer without its special tokens, template, truncation and padding."""
    copy = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        setattr(copy, part, getattr(tokenizer, part))
    return copy


def longest(tokenizer: Tokenizer, captions: Sequence[str]) -> int:
    """Return the number of pieces of the longest caption, start and end apart; at least 1."""
    return max(1, *(len(e.ids) for e in tokenizer.encode_batch(["", *captions])))


def _close_gaps(text: str) -> str:
    for gap, written in _GAPS:
        text = gap.sub(written, text)
    return text.strip()
