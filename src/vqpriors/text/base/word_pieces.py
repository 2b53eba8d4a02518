"""WordPiece encoder, for a learned or a pretrained vocabulary.

Reference:
    Wu et al. 2016, GNMT, arXiv:1609.08144, section 4.1.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.text.base.token_rows import TokenRows, max_pieces, read_tokenizer

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
MAX_WORD = 10_000  # characters; some scripts write sentences without spaces
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


def learn_word_pieces(captions: Sequence[str], *, size: int, max_length: int) -> WordPieceText:
    """Learn a vocabulary from captions.

    Args:
        captions: The training captions.
        size: Number of word pieces; more if the captions have more characters than that.
        max_length: Largest number of tokens of a caption; that of the longest one if it is less.
    """
    tokenizer = _tokenizer(_vocabulary(size, captions))
    return fit_to_captions(tokenizer, captions, max_length=max_length)


def load(folder: Path) -> WordPieceText:
    """Load a saved encoder."""
    tokenizer, length = read_tokenizer(folder)
    return WordPieceText(tokenizer, length=length)


def _vocabulary(size: int, captions: Sequence[str]) -> dict[str, int]:
    # Characters are listed to fix their ids: the trainer's own order differs between runs.
    blank = _tokenizer({})
    texts = [blank.normalizer.normalize_str(caption) for caption in captions]
    characters = sorted({c for text in texts for c in text if not c.isspace()})
    special = [PAD, UNKNOWN, START, *characters, *(f"##{c}" for c in characters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(size, len(special)), special_tokens=special, show_progress=False
    )
    blank.train_from_iterator(captions, trainer)
    return blank.get_vocab()


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    model = models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORD)
    tokenizer = Tokenizer(model)
    # In other scripts than Latin, words that differ in marks are different words.
    without_accents = normalizers.Replace(Regex(r"(?<=\p{Latin})\p{Mn}+"), "")
    steps = [normalizers.NFD(), without_accents, normalizers.NFC()]
    cased = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.normalizer = normalizers.Sequence([*steps, cased])  # pyright: ignore[reportAttributeAccessIssue] no setter in its stubs
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.WordPiece()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer
