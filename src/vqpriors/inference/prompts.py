"""What a text encoder does not read of a prompt, or does not know."""

from collections.abc import Iterator, Sequence
from typing import Any

MAX_MESSAGES = 3
LEARNED = "wordpiece"  # the encoder whose vocabulary is that of the training captions


def warnings_of(encoder: Any, prompts: Sequence[str], *, kind: str) -> list[str]:
    """Return a line for each prompt that is cut or has unknown words; of many, the first.

    Args:
        encoder: A `TextEncoder`; one without tokens (`none`) has no warnings.
        prompts: The prompts.
        kind: The encoder's module in `vqpriors.text`.
    """
    rows = getattr(encoder, "rows", None)
    if rows is None:
        return []
    found = []
    distinct = list(dict.fromkeys(prompts))
    for prompt, encoding in zip(distinct, rows.tokenizer.encode_batch(distinct), strict=True):
        found += _cut(prompt, encoding, rows.limit)
        if kind == LEARNED:
            found += _unknown(prompt, encoding)
    more = len(found) - MAX_MESSAGES
    return [*found[:MAX_MESSAGES], *([f"prompt: {more} more like these"] if more > 0 else [])]


def _cut(prompt: str, encoding: Any, limit: int) -> Iterator[str]:
    if len(encoding.ids) > limit:
        first = encoding.word_ids.index(encoding.word_ids[limit])  # piece of the word that is cut
        rest = prompt[encoding.offsets[first][0] :].strip()
        yield (
            f"prompt: {rest!r} is not read, since this model reads {limit} tokens "
            "of a text; shorten it"
        )


def _unknown(prompt: str, encoding: Any) -> Iterator[str]:
    """Yield a line if words are read in pieces or not at all: no training caption may have them."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for word, span in zip(encoding.word_ids, encoding.offsets, strict=True):
        spans.setdefault(word, []).append(span)
    is_whole = {word: len(parts) == 1 for word, parts in spans.items()}
    for word, token in zip(encoding.word_ids, encoding.tokens, strict=True):
        is_whole[word] &= token != "[UNK]"
    words = [prompt[parts[0][0] : parts[-1][1]] for w, parts in spans.items() if not is_whole[w]]
    if words:
        names = ", ".join(map(repr, dict.fromkeys(words)))
        yield f"prompt: not in the vocabulary of the training captions: {names}"
