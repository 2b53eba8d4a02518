"""WordPiece tokenization with a vocabulary learned from the training captions.

Reference:
    Wu et al. 2016, GNMT, arXiv:1609.08144, section 4.1.
"""

from collections.abc import Sequence

from pydantic import Field
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vqpriors.core.params import Section
from vqpriors.text.base.word_pieces import PAD, START, UNKNOWN, WordPieceText, fit_to_captions, load

__all__ = ["Config", "build", "load"]


class Config(Section):
    """`text.wordpiece` of params.yaml."""

    vocabulary: int = Field(ge=4)
    max_length: int = Field(ge=2)


def build(config: Config, *, captions: Sequence[str]) -> WordPieceText:
    """Learn the vocabulary; the length is that of the longest caption, at most `max_length`."""
    tokenizer = _tokenizer(_learn(config.vocabulary, captions))
    return fit_to_captions(tokenizer, captions, max_length=config.max_length)


def _learn(size: int, captions: Sequence[str]) -> dict[str, int]:
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
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()  # pyright: ignore[reportAttributeAccessIssue] no setter in its stubs
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.WordPiece()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer
