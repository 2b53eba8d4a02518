"""The encoder that WordPiece vocabularies share, wherever they come from."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.text.base.token_rows import TokenRows, longest, read_tokenizer

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
SPECIAL = (PAD, UNKNOWN, START, "[SEP]", "[MASK]")


class WordPieceText:
    """Captions as a start token and word pieces; the empty caption is the start token alone.

    Args:
        tokenizer: A trained tokenizer without special tokens of its own.
        length: Most tokens of a caption, the start token included.
    """

    def __init__(self, tokenizer: Tokenizer, *, length: int):
        self.rows = TokenRows(tokenizer, length=length, start=START, pad=PAD, special=SPECIAL)
        self.pad = self.rows.pad
        self.shape = TextShape(length=length, vocabulary=self.rows.vocabulary, feature_width=0)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions to (B, L) tokens; what exceeds L is cut off."""
        tokens, text_mask = self.rows.encode(captions)
        return TextInput(tokens, text_mask, None)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the texts of (B, L) tokens, as the tokenizer normalises them."""
        return self.rows.decode(tokens)

    def save(self, folder: Path) -> None:
        """Write the tokenizer and the length."""
        self.rows.save(folder)


def fitted(tokenizer: Tokenizer, captions: Sequence[str], *, max_length: int) -> WordPieceText:
    """Return an encoder whose length is that of the longest caption, up to `max_length`."""
    length = min(max_length, longest(tokenizer, captions) + 1)
    return WordPieceText(tokenizer, length=length)


def load(folder: Path) -> WordPieceText:
    """Load what `save` wrote."""
    tokenizer, length = read_tokenizer(folder)
    return WordPieceText(tokenizer, length=length)
