"""What stages draw with: everything between captions and pictures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from vqpriors import priors, text, tokenizer
from vqpriors.artifact import verify
from vqpriors.hardware import Precision, best_device
from vqpriors.params import Kind, Params, Section
from vqpriors.plugins import kind_names, load_kind
from vqpriors.sampling import sample_codes
from vqpriors.sampling._captioning import CaptionConfig, write_captions
from vqpriors.seeds import derived_seed
from vqpriors.tokens import TokenSpec

TEXT = Path("data/text")
TOKENIZER = Path("data/tokenizer")


class SampleConfig(Section):
    """The keys of `sample` in params.yaml that every sampler shares."""

    prompts: list[str]
    num_prompts: int = Field(ge=1)
    num_per_prompt: int = Field(ge=1)
    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    precision: Precision
    sheet_prompts: int = Field(ge=1)
    sheet_per_prompt: int = Field(ge=1)
    sheet_temperatures: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    sheet_edits: int = Field(ge=1)
    compared_steps: list[Annotated[int, Field(ge=1)]]
    compared_pictures: int = Field(ge=1)
    captions: CaptionConfig


@dataclass
class Painter:
    """A trained prior with its sampler, its captions' encoder and its tokenizer.

    Attributes:
        prior: Draws codes.
        tokenizer: Decodes them.
        spec: What they mean.
        encoder: Reads captions.
        sampler: The kind that the prior names, with its settings.
        config: What every sampler shares.
        seed: The run's.
    """

    prior: Any
    tokenizer: Any
    spec: TokenSpec
    encoder: text.TextEncoder
    sampler: Kind
    config: SampleConfig
    seed: int

    @property
    def has_steps(self) -> bool:
        """Whether the sampler leaves the number of passes open."""
        return self.sampler.module.HAS_STEPS

    @property
    def is_captioner(self) -> bool:
        """Whether the prior writes captions, too."""
        return hasattr(self.prior, "start_caption")

    def codes(
        self,
        captions: Sequence[str],
        *,
        purpose: str,
        steps: int | None = None,
        given: tuple[np.ndarray, np.ndarray] | None = None,
        temperature: float | None = None,
    ) -> np.ndarray:
        """Draw codes.

        Args:
            captions: M texts.
            purpose: Starts the randomness, with the run's seed.
            steps: Instead of the config's.
            given: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            temperature: Instead of the sampler's own.

        Returns:
            (M, N) uint16.
        """
        own = self.sampler.config
        changes = {} if temperature is None else {"temperature": temperature}
        return sample_codes(
            self.prior,
            self.sampler.module.build(own.model_copy(update=changes)),
            captions,
            encode=self.encoder.encode,
            guidance=self.config.guidance,
            steps=steps or self.config.steps,
            batch_size=self.config.batch_size,
            precision=self.config.precision,
            seed=derived_seed(self.seed, purpose),
            given=given,
        )

    def pixels(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes to (M, C, H, W) uint8."""
        settings = {"batch_size": self.config.batch_size, "precision": self.config.precision}
        return tokenizer.decode_codes(self.tokenizer, codes, **settings)

    def timed(
        self, captions: Sequence[str], *, purpose: str, steps: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Draw and decode; return codes, pixels and seconds a picture."""
        began = time.perf_counter()
        codes = self.codes(captions, purpose=purpose, steps=steps)
        pixels = self.pixels(codes)
        return codes, pixels, (time.perf_counter() - began) / len(captions)

    def captions(self, codes: np.ndarray) -> list[str]:
        """Write a caption for each picture, (M, N) integers."""
        return write_captions(
            self.prior,
            codes,
            self.config.captions,
            decode=self.encoder.decode,
            batch_size=self.config.batch_size,
            precision=self.config.precision,
            seed=derived_seed(self.seed, "captions"),
        )


def load_painter(params: Params, *, seed: int) -> Painter:
    """Load what the stages before have made, and the settings of `sample` in params.yaml."""
    config = params.section("sample", SampleConfig, besides=kind_names("vqpriors.sampling"))
    # All are checked, since a change of any reruns the stage, which would else take a wrong one.
    samplers = {kind: _sampler(kind, params) for kind in kind_names("vqpriors.sampling")}
    device = best_device()
    model, spec = tokenizer.load(TOKENIZER, device)
    prior = priors.load(
        Path("data/prior"), device, tokenizer=spec.fingerprint, encoder=verify(TEXT)
    )
    return Painter(prior, model, spec, text.load(TEXT), samplers[prior.sampler], config, seed)


def _sampler(kind: str, params: Params) -> Kind:
    module = load_kind("vqpriors.sampling", kind, param="prior.arch")
    return Kind(kind, module, params.section(f"sample.{kind}", module.Config))
