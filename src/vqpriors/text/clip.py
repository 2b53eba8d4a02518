"""CLIP's frozen text encoder: token ids, with the hidden states of its last layer as features.

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
from vqpriors.text.base.token_rows import (
    TokenRows,
    max_pieces,
    read_tokenizer,
    without_special_tokens,
)

if TYPE_CHECKING:
    from transformers import CLIPTextModel

START, END = "<|startoftext|>", "<|endoftext|>"
TOWER = "tower"
BATCH = 64  # captions per forward pass of the tower
CACHE_SIZE = 1024  # captions with cached features; 160 MB at CLIP's usual width and length
_OTHER = "choose a CLIP model, such as openai/clip-vit-base-patch32"


class Config(Section):
    """`text.clip` of params.yaml."""

    location: str
    revision: str
    max_length: int = Field(ge=3)


class FeatureCache:
    """Least-recently-used cache of the features of `size` captions."""

    def __init__(self, size: int):
        self.size = size
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, caption: str) -> Tensor | None:
        """Return a caption's features, (L, D), if cached."""
        if caption in self._features:
            self._features.move_to_end(caption)
        return self._features.get(caption)

    def put(self, caption: str, features: Tensor) -> None:
        """Cache a copy of a caption's features; drops the least recently used beyond `size`."""
        self._features[caption] = features.clone()
        if len(self._features) > self.size:
            self._features.popitem(last=False)


class ClipText:
    """Encodes captions as CLIP's tokens and the tower's last hidden states, 0 at padding.

    Every caption ends with the end token, whose features represent the whole caption. The same
    token is the padding, so the text mask tells the end of a caption from padding.

    Args:
        rows: CLIP's tokenizer.
        tower: CLIP's text tower; frozen here.
    """

    def __init__(self, rows: TokenRows, tower: "CLIPTextModel"):
        self.rows, self.pad = rows, rows.pad
        self.tower = tower.eval().requires_grad_(False)
        width = tower.config.hidden_size
        self.shape = TextShape(rows.length, vocabulary=rows.vocabulary, feature_width=width)
        self._cache = FeatureCache(CACHE_SIZE)

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode B captions; the tower is run once per distinct caption that is not cached.

        Returns:
            Tokens, the text mask and features, (B, L, D) float32 on the CPU.
        """
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
        """Return the captions of (B, L) tokens, in lower case."""
        return self.rows.decode(tokens)

    def save(self, folder: Path) -> None:
        """Save the tokenizer, the length and the tower."""
        self.rows.save(folder)
        with quiet():
            self.tower.save_pretrained(folder / TOWER)

    def _by_caption(
        self, first: dict[str, int], tokens: Tensor, text_mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield each caption with its features, (L, D); `first` maps it to its first row."""
        known = {c: found for c in first if (found := self._cache.get(c)) is not None}
        yield from known.items()
        new = [caption for caption in first if caption not in known]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            rows = [first[caption] for caption in batch]
            computed = self._features(tokens[rows], text_mask[rows])
            for caption, features in zip(batch, computed, strict=True):
                self._cache.put(caption, features)
                yield caption, features

    def _features(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        device = best_device()
        self.tower.to(device)  # pyright: ignore[reportArgumentType] hidden by its decorator
        with torch.inference_mode():
            # Needs no padding mask: attention is causal and padding is on the right.
            hidden = self.tower(input_ids=tokens.to(device)).last_hidden_state.cpu()
        # Outside inference mode, since training a prior needs ordinary tensors.
        return torch.where(text_mask[..., None], hidden, 0.0)


def build(config: Config, *, captions: Sequence[str]) -> ClipText:
    """Fetch tokenizer and tower; the length is that of the longest caption, at most `max_length`.

    Raises:
        ValueError: If the Hub can't be reached, `location` is not a CLIP model or has no
            safetensors, or `max_length` exceeds the tower's positions.
    """
    files = ("config.json", *TOKENIZER_FILES, *WEIGHTS, "model-*.safetensors")
    source = Pretrained(config.location, config.revision, files=files, param="text.clip")
    tokenizer, tower = _tokenizer(source), _tower(source)
    limit = tower.config.max_position_embeddings
    if config.max_length > limit:
        problem = f"must be at most {limit}, the tower's number of positions"
        raise ValueError(f"text.clip.max_length: {problem}, got {config.max_length}")
    rows = _rows(tokenizer, min(config.max_length, max_pieces(tokenizer, captions) + 2))
    if rows.vocabulary > tower.config.vocab_size:
        problem = f"has {rows.vocabulary} tokens, but its tower is for {tower.config.vocab_size}"
        raise source.location_error(problem, "take both from the same model")
    return ClipText(rows, tower)


def load(folder: Path) -> ClipText:
    """Load a saved encoder."""
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
    # Without either file, transformers creates a vocabulary of special tokens only.
    if not (source.has("tokenizer.json") or source.has("vocab.json", "merges.txt")):
        raise source.location_error(
            "has neither tokenizer.json nor vocab.json and merges.txt", _OTHER
        )
    tokenizer = without_special_tokens(source.read(CLIPTokenizer).backend_tokenizer)
    has_all = {START, END} <= tokenizer.get_vocab().keys()
    if not (has_all and isinstance(tokenizer.model, models.BPE)):
        raise source.location_error("has another kind of tokenizer", _OTHER)
    spaced = [decoders.ByteLevel(), decoders.Replace("</w>", " ")]
    tokenizer.decoder = decoders.Sequence(spaced)  # pyright: ignore[reportAttributeAccessIssue] no setter in its stubs
    return tokenizer


def _tower(source: Pretrained) -> "CLIPTextModel":
    from transformers import CLIPTextModel

    if not source.has("config.json"):
        raise source.location_error("has no config.json", _OTHER)
    if not any(source.has(name) for name in WEIGHTS):
        problem = "has no model.safetensors, and pickled weights (.bin) are not loaded"
        raise source.location_error(problem, "choose a revision or a folder that has it")
    options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    tower, report = source.read(CLIPTextModel, **options)
    if report["missing_keys"]:
        raise source.location_error("lacks weights of the text tower", _OTHER)
    return tower
