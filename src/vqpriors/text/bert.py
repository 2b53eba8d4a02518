"""WordPiece tokenization with BERT's English vocabulary; the prior learns the embeddings.

Reference:
    Devlin et al. 2019, BERT, arXiv:1810.04805.
"""

from collections.abc import Sequence

from pydantic import Field
from tokenizers import Tokenizer, models

from vqpriors.core.params import Section
from vqpriors.text.base.pretrained import TOKENIZER_FILES, Pretrained
from vqpriors.text.base.token_rows import without_special_tokens
from vqpriors.text.base.word_pieces import PAD, START, UNKNOWN, WordPieceText, fit_to_captions, load

__all__ = ["Config", "build", "load"]

_OTHER = "choose a BERT tokenizer, such as google-bert/bert-base-uncased"


class Config(Section):
    """`text.bert` of params.yaml."""

    location: str
    revision: str
    max_length: int = Field(ge=2)


def build(config: Config, *, captions: Sequence[str]) -> WordPieceText:
    """Fetch the vocabulary; the length is that of the longest caption, at most `max_length`.

    Raises:
        ValueError: If the Hub can't be reached, or `location` is not a BERT tokenizer.
    """
    files = ("config.json", *TOKENIZER_FILES)
    source = Pretrained(config.location, config.revision, files=files, param="text.bert")
    return fit_to_captions(_tokenizer(source), captions, max_length=config.max_length)


def _tokenizer(source: Pretrained) -> Tokenizer:
    from transformers import BertTokenizer

    source.check_type("bert")
    # Without either file, transformers creates a vocabulary of special tokens only.
    if not (source.has("tokenizer.json") or source.has("vocab.txt")):
        raise source.location_error("has no tokenizer.json or vocab.txt", _OTHER)
    tokenizer = without_special_tokens(source.read(BertTokenizer).backend_tokenizer)
    has_all = {PAD, UNKNOWN, START} <= tokenizer.get_vocab().keys()
    if not (has_all and isinstance(tokenizer.model, models.WordPiece)):
        raise source.location_error("has another kind of tokenizer", _OTHER)
    return tokenizer
