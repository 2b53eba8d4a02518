"""CLIP's text tower, frozen: each token of a caption comes with what the tower makes of it.

Reference:
    Radford et al. 2021, CLIP, arXiv:2103.00020.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models
from torch import Tensor

from vqpriors.core.hardware import best_device
from vqpriors.core.params import Section
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.text.base.pretrained import TOKENIZER_FILES, WEIGHTS, Pretrained, quiet
from vqpriors.text.base.token_rows import TokenRows, bare, longest, read_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPTextModel

START, END = "<|startoftext|>", "<|endoftext|>"
TOWER = "tower"
BATCH = 64  # captions that the tower reads at once
REMEMBERED = 1024  # captions whose features are kept: 160 MB of the usual tower's longest
_OTHER = "choose a CLIP model, such as openai/clip-vit-base-patch32"


class Config(Section):
    """`text.clip` of params.yaml."""

    location: str
    revision: str
    max_length: int = Field(ge=3)


class Recent:
    """Features of the captions asked for last, at most `size` of them."""

    def __init__(self, size: int):
        self.size = size
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, caption: str) -> Tensor | None:
        """Return a caption's features, (L, D), if they are here."""
        if caption in self._features:
            self._features.move_to_end(caption)
        return self._features.get(caption)

    def keep(self, caption: str, features: Tensor) -> None:
        """Keep a copy of a caption's features, in place of the one asked for longest ago."""
        self._features[caption] = features.clone()
        if len(self._features) > self.size:
            self._features.popitem(last=False)


class ClipText:
    """Captions as CLIP's tokens with the tower's last hidden states, which are 0 at padding.

    A row ends with the end token, whose features speak for the whole caption; padding repeats it.

    Args:
        rows: CLIP's tokenizer.
        tower: Its text tower; it is frozen here.
    """

    def __init__(self, rows: TokenRows, tower: "CLIPTextModel"):
        self.rows, self.pad = rows, rows.pad
        self.tower = tower.eval().requires_grad_(False)
        width = tower.config.hidden_size
        self.shape = TextShape(rows.length, vocabulary=rows.vocabulary, feature_width=width)
        self._recent = Recent(REMEMBERED)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions; the features, (B, L, D) float32, of equal ones are computed once."""
        tokens, text_mask = self.rows.encode(captions)
        features = torch.zeros(*tokens.shape, self.shape.feature_width)
        rows: dict[str, list[int]] = {}
        for row, caption in enumerate(captions):
            rows.setdefault(caption, []).append(row)
        first = {caption: places[0] for caption, places in rows.items()}
        for caption, found in self._by_caption(first, tokens, text_mask):
            features[rows[caption]] = found
        return TextInput(tokens, text_mask, features)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the texts of (B, L) tokens, lower case."""
        return self.rows.decode(tokens)

    def save(self, folder: Path) -> None:
        """Write the tokenizer, the length and the tower."""
        self.rows.save(folder)
        with quiet():
            self.tower.save_pretrained(folder / TOWER)

    def _by_caption(
        self, first: dict[str, int], tokens: Tensor, text_mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield each caption with its features, (L, D), given the first of its rows."""
        known = {c: found for c in first if (found := self._recent.get(c)) is not None}
        yield from known.items()
        new = [caption for caption in first if caption not in known]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            rows = [first[caption] for caption in batch]
            computed = self._features(tokens[rows], text_mask[rows])
            for caption, features in zip(batch, computed, strict=True):
                self._recent.keep(caption, features)
                yield caption, features

    def _features(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        device = best_device()
        self.tower.to(device)  # pyright: ignore[reportArgumentType] hidden by its decorator
        with torch.inference_mode():
            # No mask: padding is on the right, and a token sees none but those before it.
            hidden = self.tower(input_ids=tokens.to(device)).last_hidden_state.cpu()
        # Outside the block, so that a prior may train on it.
        return torch.where(text_mask[..., None], hidden, 0.0)


def build(config: Config, *, captions: Sequence[str]) -> ClipText:
    """Fetch tokenizer and tower; the longest training caption sets the length, up to `max_length`.

    Raises:
        ValueError: If the hub can't be reached, what is at `location` is no CLIP model or has no
            safetensors, or `max_length` exceeds what the tower reads.
    """
    files = ("config.json", *TOKENIZER_FILES, *WEIGHTS, "model-*.safetensors")
    source = Pretrained(config.location, config.revision, files=files, param="text.clip")
    tokenizer, tower = _tokenizer(source), _tower(source)
    most = tower.config.max_position_embeddings
    if config.max_length > most:
        problem = f"the tower reads at most {most} tokens, got {config.max_length}"
        raise ValueError(f"text.clip.max_length: {problem}; change it in params.yaml")
    rows = _rows(tokenizer, min(config.max_length, longest(tokenizer, captions) + 2))
    if rows.vocabulary > tower.config.vocab_size:
        problem = f"has {rows.vocabulary} tokens and a tower of {tower.config.vocab_size}"
        raise source.refusal(problem, "take both from the same model")
    return ClipText(rows, tower)


def load(folder: Path) -> ClipText:
    """Load what `save` wrote."""
    from transformers import CLIPTextModel

    tokenizer, length = read_tokenizer(folder)
    with quiet():
        tower = CLIPTextModel.from_pretrained(
            folder / TOWER, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    return ClipText(_rows(tokenizer, length), tower)


def _rows(tokenizer: Tokenizer, length: int) -> TokenRows:
    return TokenRows(tokenizer, length=length, start=START, pad=END, end=END, special=(START, END))


def _tokenizer(source: Pretrained) -> Tokenizer:
    from transformers import CLIPTokenizer

    source.check_type("clip", "clip_text_model")
    # Without either, transformers makes up a vocabulary of nothing but special tokens.
    if not (source.has("tokenizer.json") or source.has("vocab.json", "merges.txt")):
        raise source.refusal("has no tokenizer.json, nor vocab.json and merges.txt", _OTHER)
    tokenizer = bare(source.read(CLIPTokenizer).backend_tokenizer)
    has_all = {START, END} <= tokenizer.get_vocab().keys()
    if not (has_all and isinstance(tokenizer.model, models.BPE)):
        raise source.refusal("holds another kind of tokenizer", _OTHER)
    spaced = [decoders.ByteLevel(), decoders.Replace("</w>", " ")]
    tokenizer.decoder = decoders.Sequence(spaced)  # pyright: ignore[reportAttributeAccessIssue] no setter in its stubs
    return tokenizer


def _tower(source: Pretrained) -> "CLIPTextModel":
    from transformers import CLIPTextModel

    if not source.has("config.json"):
        raise source.refusal("has no config.json", _OTHER)
    if not any(source.has(name) for name in WEIGHTS):
        problem = "has no model.safetensors, and pickled weights (.bin) are not read"
        raise source.refusal(problem, "choose a revision or a folder that has it")
    options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    tower, report = source.read(CLIPTextModel, **options)
    if report["missing_keys"]:
        raise source.refusal("lacks weights of the text tower", _OTHER)
    return tower
