"""WordPiece with a vocabulary learned from the training captions.

Reference:
    Wu et al. 2016, GNMT, arXiv:1609.08144, section 4.1.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vqpriors.conditioning import TextInput, TextShape
from vqpriors.params import Section

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"
FILE = "tokenizer.json"


class Config(Section):
    """`text.wordpiece` of params.yaml."""

    vocabulary: int = Field(ge=4)
    max_length: int = Field(ge=2)


class WordPieceText:
    """Captions as a start token and word pieces; the empty caption is the start token alone.

    Args:
        tokenizer: A trained tokenizer.
        length: Most tokens of a caption, the start token included.
    """

    def __init__(self, tokenizer: Tokenizer, *, length: int):
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.pad, self.start = vocabulary[PAD], vocabulary[START]
        self.shape = TextShape(length=length, vocabulary=len(vocabulary), feature_width=0)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions to (B, L) tokens; what exceeds L is cut off."""
        tokens = torch.full((len(captions), self.shape.length), self.pad)
        tokens[:, 0] = self.start
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(captions))):
            ids = encoding.ids[: self.shape.length - 1]
            tokens[row, 1 : 1 + len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return TextInput(tokens, tokens != self.pad, None)

    def save(self, folder: Path) -> None:
        """Write the tokenizer, with the length as its truncation."""
        self.tokenizer.enable_truncation(self.shape.length)
        self.tokenizer.save(str(folder / FILE))
        self.tokenizer.no_truncation()


def build(config: Config, *, captions: Sequence[str]) -> WordPieceText:
    """Learn the vocabulary; the longest training caption sets the length, up to `max_length`."""
    tokenizer = _tokenizer(_learn(config.vocabulary, captions))
    longest = max((len(e.ids) for e in tokenizer.encode_batch(list(captions))), default=0)
    return WordPieceText(tokenizer, length=min(config.max_length, max(longest, 1) + 1))


def load(folder: Path) -> WordPieceText:
    """Load what `save` wrote."""
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    length = tokenizer.truncation["max_length"]  # pyright: ignore[reportOptionalSubscript]
    tokenizer.no_truncation()
    return WordPieceText(tokenizer, length=length)


def _learn(size: int, captions: Sequence[str]) -> dict[str, int]:
    # Unless given, the characters are numbered in an order that changes from run to run.
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
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()  # pyright: ignore[reportAttributeAccessIssue] no setter in its stubs
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.WordPiece()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer
