"""Build the text encoder and save it for offline use, in `data/text/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import run
from vqpriors.core.params import Params
from vqpriors.data.images import read_captions
from vqpriors.text.base.encoder import save_encoder


def main(params: Params) -> None:
    """Build the encoder from the training captions and save it."""
    kind = params.kind("text.encoder", "vqpriors.text")
    captions = read_captions(Path("data/images"), "train")
    encoder = kind.module.build(kind.config, captions=captions)
    save_encoder(Path("data/text"), kind.name, encoder)
    shape = encoder.shape
    print(f"{kind.name}: {shape.vocabulary} tokens, captions of up to {shape.length}")
    if cut := num_cut(encoder, captions):
        print(f"{cut:,} of {len(captions):,} training captions are longer; their ends are not read")


def num_cut(encoder: Any, captions: Sequence[str]) -> int:
    """Return the number of captions of which the encoder does not read all tokens."""
    rows = getattr(encoder, "rows", None)
    if rows is None:
        return 0
    return sum(len(each.ids) > rows.limit for each in rows.tokenizer.encode_batch(list(captions)))


if __name__ == "__main__":
    run("prepare_text", main)
