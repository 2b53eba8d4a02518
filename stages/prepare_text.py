"""Build the text encoder and save it for offline use, in `data/text/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding

from stages import run
from vqpriors.core.params import Params
from vqpriors.data.images import read_captions
from vqpriors.data.shards import SPLITS
from vqpriors.text.base.encoder import save_encoder
from vqpriors.text.base.word_pieces import UNKNOWN

IMAGES = Path("data/images")


def main(params: Params) -> None:
    """Build the encoder from the training captions and save it."""
    kind = params.kind("text.encoder", "vqpriors.text")
    captions = read_captions(IMAGES, "train")
    encoder = kind.module.build(kind.config, captions=captions)
    save_encoder(Path("data/text"), kind.name, encoder)
    shape = encoder.shape
    print(f"{kind.name}: {shape.vocabulary} tokens, captions of up to {shape.length}")
    for split in SPLITS:
        texts = read_captions(IMAGES, split)
        of_all = f"of {len(texts):,} {split} captions"
        if cut := num_cut(encoder, texts):
            print(f"{cut:,} {of_all} are longer; their ends are not read")
        if unknown := num_unknown(encoder, texts):
            print(f"{unknown:,} {of_all} have words that can't be spelt; each is read as [UNK]")


def num_cut(encoder: Any, captions: Sequence[str]) -> int:
    """Return the number of captions of which the encoder does not read all tokens."""
    return sum(len(each.ids) > encoder.rows.limit for each in _encoded(encoder, captions))


def num_unknown(encoder: Any, captions: Sequence[str]) -> int:
    """Return the number of captions with a word that the vocabulary can't spell."""
    return sum(UNKNOWN in each.tokens for each in _encoded(encoder, captions))


def _encoded(encoder: Any, captions: Sequence[str]) -> list[Encoding]:
    """Return the tokens of captions, cut nowhere; none for an encoder without tokens."""
    rows = getattr(encoder, "rows", None)
    return [] if rows is None else rows.tokenizer.encode_batch(list(captions))


if __name__ == "__main__":
    run("prepare_text", main)
