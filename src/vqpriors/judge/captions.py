"""A matcher of pictures and captions, trained contrastively, for sets without attributes.

A convolutional network encodes pictures, a bidirectional LSTM captions. Both are trained from
scratch on the real training pairs, so that a picture is nearer to its own caption than to the
others of a batch. It is small: it learns what distinguishes the pictures of one data set, not what
words mean elsewhere.

References:
    Radford et al. 2021, CLIP, arXiv:2103.00020 (symmetric cross-entropy of similarities, learned
    temperature);
    Xu et al. 2018, AttnGAN, arXiv:1711.10485 (a bidirectional LSTM for captions; R-precision).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.images import ImageSet
from vqpriors.judge.base.blocks import make_blocks
from vqpriors.judge.base.contrastive import contrastive_loss
from vqpriors.text.base.word_pieces import WordPieceText, learn_word_pieces

IS_AUTOMATIC = True

INITIAL_TEMPERATURE = 0.07


class Config(Section):
    """`judge.captions` of params.yaml.

    Attributes:
        max_size: Largest edge of a picture, pixels; larger ones are averaged down to it.
        width: Channels of the first block of the image encoder; every block doubles them.
        depth: Number of its blocks, each of which halves the picture's edge.
        text_width: Width of the embeddings of word pieces and, for both directions together, of
            the LSTM.
        embedding: Width of the space in which pictures and captions are compared.
        vocabulary: Number of word pieces.
        max_length: Tokens of a caption; the rest is not read.
        dropout: Dropout probability of word embeddings and of the features of pictures.
        shift: Maximum random shift of a training picture, pixels.
        phases: Training phases, in order.
    """

    max_size: int = Field(ge=16)
    width: int = Field(ge=8, multiple_of=8)
    depth: int = Field(ge=1, le=7)
    text_width: int = Field(ge=8, multiple_of=2)
    embedding: int = Field(ge=2)
    vocabulary: int = Field(ge=4)
    max_length: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)
    shift: int = Field(ge=0)
    phases: dict[str, Phase] = Field(min_length=1)


class CaptionJudge(nn.Module):
    """Two encoders that map pictures and captions to one space; a `Matcher`.

    Args:
        channels: Channels C of the pictures, 1 or 3.
        tokenizer: A word-piece tokenizer as JSON text.
        length: Number of tokens L of a caption.
        max_size: See `Config`; likewise the following.
    """

    is_matcher = True
    is_colorless = False

    def __init__(
        self,
        *,
        channels: int,
        tokenizer: str,
        length: int,
        max_size: int,
        width: int,
        depth: int,
        text_width: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "channels": channels,
            "tokenizer": tokenizer,
            "length": length,
            "max_size": max_size,
            "width": width,
            "depth": depth,
            "text_width": text_width,
            "embedding": embedding,
            "dropout": dropout,
        }
        self.classes: dict[str, list[str]] = {}
        self.encoder = WordPieceText(Tokenizer.from_str(tokenizer), length=length)
        self.max_size = max_size
        self.num_shape_features = width * 2 ** (depth - 1)
        self.blocks = make_blocks(channels=channels, width=width, depth=depth)
        self.dropout = nn.Dropout(dropout)
        self.project_picture = nn.Linear(self.num_shape_features, embedding, bias=False)
        self.words = nn.Embedding(self.encoder.shape.vocabulary, text_width)
        self.lstm = nn.LSTM(text_width, text_width // 2, batch_first=True, bidirectional=True)
        self.project_caption = nn.Linear(text_width, embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / INITIAL_TEMPERATURE)))

    def features(self, images: Tensor) -> Tensor:
        """Map pictures, (B, C, H, W) float32 in -1..1, to (B, F) float32 features."""
        size = max(images.shape[2:])
        if size > self.max_size:
            images = F.interpolate(images, scale_factor=self.max_size / size, mode="area")
        return self.blocks(images).float().mean(dim=(2, 3))

    def predict(self, features: Tensor) -> Tensor:
        """Return no class, (B, 0) int64: this judge has no attributes."""
        return torch.zeros(len(features), 0, dtype=torch.int64, device=features.device)

    def match(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the cosine similarity of B pictures and M captions, (B, M) float32."""
        tokens, text_mask, _ = self.encoder.encode(captions).to(features.device)
        return self._embed_pictures(features) @ self._embed_captions(tokens, text_mask).T

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the contrastive loss of a batch.

        Args:
            batch: "images", (B, C, H, W) float32 in -1..1; "tokens", (B, L) int64, and
                "text_mask", (B, L) bool.

        Returns:
            "contrastive"; see `contrastive_loss`.
        """
        pictures = self._embed_pictures(self.features(batch["images"]))
        captions = self._embed_captions(batch["tokens"], batch["text_mask"])
        scale = self.log_scale.exp()
        return {"contrastive": contrastive_loss(pictures, captions, batch["tokens"], scale)}

    def _embed_pictures(self, features: Tensor) -> Tensor:
        return F.normalize(self.project_picture(self.dropout(features)).float(), dim=1)

    def _embed_captions(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        words = self.dropout(self.words(tokens))
        lengths = text_mask.sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            words, lengths, batch_first=True, enforce_sorted=False
        )
        with torch.autocast(words.device.type, enabled=False):  # not every cuDNN has it in bfloat16
            states = self.lstm(packed)[0]
        hidden, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=tokens.shape[1]
        )
        mean = hidden.sum(dim=1) / text_mask.sum(dim=1, keepdim=True)  # padding is 0
        return F.normalize(self.project_caption(mean).float(), dim=1)


def can_judge(training: ImageSet) -> bool:
    """Return whether there are different captions."""
    return len(set(training.captions)) > 1


def build(config: Config, *, training: ImageSet) -> CaptionJudge:
    """Build an untrained judge with the vocabulary of the training captions."""
    text = learn_word_pieces(
        sorted(set(training.captions)), size=config.vocabulary, max_length=config.max_length
    )
    return CaptionJudge(
        channels=training.pixels.shape[1],
        tokenizer=text.rows.tokenizer.to_str(),
        length=text.shape.length,
        **config.model_dump(exclude={"vocabulary", "max_length", "shift", "phases"}),
    )


def targets(judge: CaptionJudge, images: ImageSet) -> dict[str, Tensor]:
    """Return "tokens" and "text_mask", the encoded captions; see `CaptionJudge.losses`."""
    tokens, text_mask, _ = judge.encoder.encode(images.captions)
    return {"tokens": tokens, "text_mask": text_mask}


def restore(settings: Mapping[str, Any]) -> CaptionJudge:
    """Build a judge again from its settings."""
    return CaptionJudge(**settings)
