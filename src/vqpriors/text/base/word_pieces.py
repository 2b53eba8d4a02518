"""WordPiece encoder, for a learned or a pretrained vocabulary."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.text.base.token_rows import TokenRows, max_pieces, read_tokenizer

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
SPECIAL = (PAD, UNKNOWN, START, "[SEP]", "[MASK]")


class WordPieceText:
    """Encodes a caption as a start token and word pieces; the empty caption is the start token.

    Args:
        tokenizer: A trained tokenizer, without special tokens of its own.
        length: Maximum number of tokens, including the start token.
    """

    def __init__(self, tokenizer: Tokenizer, *, length: int):
        self.rows = TokenRows(tokenizer, length=length, start=START, pad=PAD, special=SPECIAL)
        self.pad = self.rows.pad
        self.shape = TextShape(length=length, vocabulary=self.rows.vocabulary, feature_width=0)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions to (B, L) tokens, truncated to L."""
        tokens, text_mask = self.rows.encode(captions)
        return TextInput(tokens, text_mask, None)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the captions of (B, L) tokens, in the tokenizer's normalisation."""
        return self.rows.decode(tokens)

    def save(self, folder: Path) -> None:
        """Save the tokenizer and the length."""
        self.rows.save(folder)


def fit_to_captions(
    tokenizer: Tokenizer, captions: Sequence[str], *, max_length: int
) -> WordPieceText:
    """Return an encoder with the length of the longest caption, at most `max_length`."""
    length = min(max_length, max_pieces(tokenizer, captions) + 1)
    return WordPieceText(tokenizer, length=length)


def load(folder: Path) -> WordPieceText:
    """Load a saved encoder."""
    tokenizer, length = read_tokenizer(folder)
    return WordPieceText(tokenizer, length=length)
