"""Captions as padded rows of token ids."""

import re
from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

FILE = "tokenizer.json"

# Spaces that decoding leaves at punctuation, as in "seven , big", "t - shirt" and "man ' s".
_GAPS = (
    (re.compile(r" (?=[.,:;!?)])|(?<=\() "), ""),
    (re.compile(r"(?<=\w) - (?=\w)"), "-"),
    (re.compile(r"(?<=\w) ?' ?(?=(?:s|t|m|d|re|ve|ll)\b)"), "'"),
)


class TokenRows:
    """Encodes captions as rows of token ids: start, word pieces, end if there is one, padding.

    The name of a special token in a caption is encoded as ordinary text.

    Args:
        tokenizer: A tokenizer from `without_special_tokens`; it adds no tokens by itself.
        length: Maximum number of tokens L, including start and end.
        start: Name of the start token.
        pad: Name of the padding token; a caption ends at the first one.
        end: Name of the end token; "" for none.
        special: Names of all special tokens.

    Attributes:
        start: Id of the start token.
        pad: Id of the padding token.
        end: Id of the end token, as a list; empty without one.
        vocabulary: Number of token ids V.
        words: Ids that are not special tokens.
        limit: Number of tokens of a caption that are read, without start and end.
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
        self.limit = length - 1 - len(self.end)
        self.vocabulary = max(vocabulary.values()) + 1
        self.words = frozenset(i for name, i in vocabulary.items() if name not in special)

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode B captions, truncated to L tokens.

        Returns:
            The tokens, (B, L) int64, and the text mask, False at padding, (B, L) bool.
        """
        tokens = torch.full((len(captions), self.length), self.pad)
        text_mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(captions))):
            ids = [self.start, *encoding.ids[: self.limit], *self.end]
            tokens[row, : len(ids)] = torch.tensor(ids)
            text_mask[row, : len(ids)] = True
        return tokens, text_mask

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the captions of B rows, each up to its first padding; any ids are allowed.

        Args:
            tokens: (B, L) int64.
        """
        texts = self.tokenizer.decode_batch([self._text_ids(row) for row in tokens.tolist()])
        return [_close_gaps(text) for text in texts]

    def save(self, folder: Path) -> None:
        """Save the tokenizer, with the length as its truncation."""
        self.tokenizer.enable_truncation(self.length)
        self.tokenizer.save(str(folder / FILE))
        self.tokenizer.no_truncation()

    def _text_ids(self, row: list[int]) -> list[int]:
        caption = takewhile(lambda token: token != self.pad, row)
        return [token for token in caption if token in self.words]


def read_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """Load the tokenizer and the length that `TokenRows.save` saved."""
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    length = tokenizer.truncation["max_length"]  # pyright: ignore[reportOptionalSubscript]
    tokenizer.no_truncation()
    return tokenizer, length


def without_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a tokenizer without special tokens, template, truncation and padding."""
    copy = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        setattr(copy, part, getattr(tokenizer, part))
    return copy


def max_pieces(tokenizer: Tokenizer, captions: Sequence[str]) -> int:
    """Return the largest number of word pieces of a caption, without start and end; at least 1."""
    return max(1, *(len(e.ids) for e in tokenizer.encode_batch(["", *captions])))


def _close_gaps(text: str) -> str:
    for gap, replacement in _GAPS:
        text = gap.sub(replacement, text)
    return text.strip()
