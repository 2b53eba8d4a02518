"""WordPiece tokenization with a vocabulary learned from the training captions."""

from collections.abc import Sequence

from pydantic import Field

from vqpriors.core.params import Section
from vqpriors.text.base.word_pieces import WordPieceText, learn_word_pieces, load

__all__ = ["Config", "build", "load"]


class Config(Section):
    """`text.wordpiece` of params.yaml."""

    vocabulary: int = Field(ge=4)
    max_length: int = Field(ge=2)


def build(config: Config, *, captions: Sequence[str]) -> WordPieceText:
    """Learn the vocabulary; see `learn_word_pieces`."""
    return learn_word_pieces(captions, size=config.vocabulary, max_length=config.max_length)
