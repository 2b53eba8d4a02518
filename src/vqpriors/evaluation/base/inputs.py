"""What measures read: real and drawn pictures of a run, and its models, loaded when needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vqpriors.core.artifact import verify
from vqpriors.core.hardware import best_device
from vqpriors.data.images import ImageSet, read_images
from vqpriors.data.samples import Prompt, read_samples
from vqpriors.data.tokens import TokenSet, TokenSpec, read_tokens
from vqpriors.judge.judging import load_judge
from vqpriors.judge.network import Judge
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.coding import decode_codes
from vqpriors.tokenizer.base.loading import load_tokenizer


@dataclass(frozen=True)
class Inputs:
    """The outputs of a run's stages.

    Attributes:
        data: Folder with the outputs of all stages.
        batch_size: Pictures at a time; affects memory only.
        bound_samples: Masks per picture for the likelihood bound of masked priors.
        seed: Seed of a measure's random numbers.
    """

    data: Path
    batch_size: int
    bound_samples: int
    seed: int

    @cached_property
    def train(self) -> ImageSet:
        """Training pictures."""
        return read_images(self.data / "images", "train")

    @cached_property
    def real(self) -> ImageSet:
        """Test pictures."""
        return read_images(self.data / "images", "test")

    @cached_property
    def tokens(self) -> TokenSet:
        """Codes of the test pictures."""
        return read_tokens(self.data / "tokens", "test", tokenizer=self.spec.fingerprint)

    @cached_property
    def reconstructions(self) -> np.ndarray:
        """Test pictures, encoded and decoded by the tokenizer; (M, C, H, W) uint8."""
        return self.decode(self.tokens.codes)

    @property
    def spec(self) -> TokenSpec:
        """Grid and codebook of the codes."""
        return self._tokenizer[1]

    @property
    def prompts(self) -> list[Prompt]:
        """Prompts of the drawn pictures."""
        return self._samples[0]

    @property
    def drawn(self) -> np.ndarray:
        """Drawn pictures, (M, C, H, W) uint8."""
        return self._samples[1]

    @cached_property
    def judge(self) -> Judge | None:
        """The judge; None if the training pictures have no attributes."""
        return load_judge(self.data / "judge", best_device())

    @cached_property
    def prior(self) -> Any:
        """The prior, a `Prior`."""
        return load_prior(
            self.data / "prior",
            best_device(),
            tokenizer=self.spec.fingerprint,
            encoder=verify(self.data / "text"),
        )

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder."""
        return load_encoder(self.data / "text")

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decode (M, N) integer codes to (M, C, H, W) uint8 pixels."""
        model = self._tokenizer[0]
        return decode_codes(model, codes, batch_size=self.batch_size, precision="no")

    def requested(self, prompts: Sequence[Prompt]) -> list[dict[str, str]]:
        """Return the attributes that prompts ask for; {} for a prompt with unknown ones.

        They are those of the test picture whose caption the prompt is, or of any test picture with
        the same caption.
        """
        by_id = dict(zip(self.real.ids, self.real.attributes, strict=True))
        by_caption = dict(zip(self.real.captions, self.real.attributes, strict=True))
        return [by_id[p.id] if p.id else by_caption.get(p.caption, {}) for p in prompts]

    @cached_property
    def _tokenizer(self) -> tuple[nn.Module, TokenSpec]:
        return load_tokenizer(self.data / "tokenizer", best_device())

    @cached_property
    def _samples(self) -> tuple[list[Prompt], np.ndarray, TokenSet]:
        return read_samples(self.data / "samples", tokenizer=self.spec.fingerprint)
