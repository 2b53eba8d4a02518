"""The generator of the `sample` stage, with the settings and the seed of params.yaml."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from vqpriors.core.hardware import best_device
from vqpriors.core.params import Kind, Params
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.samples import SheetRow
from vqpriors.data.tokens import TokenSet
from vqpriors.inference.editing import edit_mask
from vqpriors.inference.generator import Generator
from vqpriors.inference.loading import load_parts
from vqpriors.inference.settings import SamplingDefaults, SamplingOptions
from vqpriors.sampling.base.choosing import choose_sampler

SAMPLERS = "vqpriors.sampling"


class SampleConfig(SamplingDefaults):
    """The keys of `sample` in params.yaml that do not belong to one sampler."""

    prompts: list[str]
    num_prompts: int = Field(ge=1)
    num_per_prompt: int = Field(ge=1)
    sheet_prompts: int = Field(ge=1)
    sheet_per_prompt: int = Field(ge=1)
    sheet_temperatures: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    sheet_edits: int = Field(ge=1)
    compared_steps: list[Annotated[int, Field(ge=1)]]
    compared_pictures: int = Field(ge=1)
    compared_tflop: float = Field(gt=0)


@dataclass
class StageSampler:
    """A generator with the settings and the seed of the `sample` stage.

    Attributes:
        generator: The generator.
        config: The keys of `sample` that do not belong to one sampler.
        seed: The seed of params.yaml.
    """

    generator: Generator
    config: SampleConfig
    seed: int

    def with_params(self, params: Params) -> "StageSampler":
        """Return a sampler with the same trained parts and other params of the section `sample`.

        Raises:
            ValueError: If a param of any sampler is missing or out of range.
        """
        config, samplers = _read(params)
        kind = choose_sampler(config.sampler, self.generator.prior.primitive)
        generator = replace(self.generator, defaults=config, sampler=samplers[kind])
        return StageSampler(generator, config, self.seed)

    @property
    def compared_steps(self) -> list[int]:
        """Numbers of decoding steps to compare; only one if the sampler has no choice."""
        if not self.generator.has_steps:
            return [self.generator.spec.length]
        return list(dict.fromkeys(self.config.compared_steps))

    @property
    def compared_pictures(self) -> int:
        """Pictures to draw with each of the compared numbers of steps."""
        count, _ = size_of_comparison(
            self.config,
            passes=sum(self.compared_steps) if self.generator.has_steps else 1,
            parameters=sum(weight.numel() for weight in self.generator.prior.parameters()),
            codes=self.generator.spec.length,
        )
        return count

    def sample_codes(
        self,
        captions: Sequence[str],
        *,
        purpose: str,
        steps: int | None = None,
        known: tuple[np.ndarray, np.ndarray] | None = None,
        temperature: float | None = None,
    ) -> np.ndarray:
        """Draw the codes of a picture for each caption.

        Args:
            captions: M texts.
            purpose: Part of the seed, so that each purpose has its own random numbers.
            steps: Decoding steps, ignored if the sampler has no choice; default: the config's.
            known: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            temperature: Default: the sampler's.

        Returns:
            (M, N) uint16.
        """
        steps = steps if self.generator.has_steps else None
        options = SamplingOptions(steps=steps, temperature=temperature, seed=self.seed)
        return self.generator.sample_codes(captions, options, purpose=purpose, known=known)

    def sample_timed(
        self, captions: Sequence[str], *, purpose: str, steps: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Draw and decode a picture for each caption, and measure the time.

        Returns:
            Codes, (M, N) uint16, pixels, (M, C, H, W) uint8, and seconds per picture.
        """
        began = time.perf_counter()
        codes = self.sample_codes(captions, purpose=purpose, steps=steps)
        pixels = self.generator.decode(codes)
        return codes, pixels, (time.perf_counter() - began) / len(captions)

    def sample_sheets(self, real: TokenSet, captions: Sequence[str]) -> list[SheetRow]:
        """Draw the codes for the sheets of samples, temperatures and edits.

        Args:
            real: Codes and captions of the evaluated split, for the edits.
            captions: The prompts; the sheets show the first distinct ones.
        """
        return [*self._prompt_rows(captions), *self._edit_rows(real)]

    def _prompt_rows(self, captions: Sequence[str]) -> Iterator[SheetRow]:
        shown = list(dict.fromkeys(captions))[: self.config.sheet_prompts]
        repeated = [each for each in shown for _ in range(self.config.sheet_per_prompt)]
        own = self.generator.temperature_for()
        compared = list(dict.fromkeys(self.config.sheet_temperatures))
        drawn = {
            value: self.sample_codes(repeated, purpose="sheet", temperature=value)
            for value in dict.fromkeys([own, *compared])
        }
        for sheet, values in (("samples", [own]), ("temperatures", compared)):
            for value in values:
                for caption, codes in zip(repeated, drawn[value].tolist(), strict=True):
                    yield SheetRow(sheet, f"temperature {value}", caption, codes, [])

    def _edit_rows(self, real: TokenSet) -> Iterator[SheetRow]:
        spec, count = self.generator.spec, min(self.config.sheet_edits, len(real))
        codes, captions = real.codes[:count], real.captions[:count]
        for edit in self.generator.sampler.module.EDITS:
            keep = edit_mask(edit, spec.rows, spec.columns, count=count, seed=self.seed)
            drawn = self.sample_codes(captions, purpose=edit, known=(codes, keep))
            for row in zip(captions, drawn.tolist(), keep.tolist(), strict=True):
                yield SheetRow("edits", edit, *row)


def size_of_comparison(
    config: SampleConfig, *, passes: int, parameters: int, codes: int
) -> tuple[int, float]:
    """Return how many pictures to draw with each of the compared numbers of decoding steps.

    At least one, unless there is nothing to compare; at most `compared_pictures`, and as many as
    `compared_tflop` allows. A pass over a picture is taken to cost two operations for each
    parameter and code, twice with guidance.

    Args:
        config: The keys of `sample`.
        passes: Passes over a picture's codes, with all of these numbers of steps together.
        parameters: Parameters of the prior.
        codes: Codes of a picture.

    Returns:
        The number of pictures, and their operations in TFLOP.
    """
    if not passes:
        return 0, 0.0
    passes *= 1 if config.guidance == 1 else 2
    tflop = 2e-12 * parameters * codes * passes
    count = max(1, min(config.compared_pictures, int(config.compared_tflop / tflop)))
    return count, count * tflop


def load_stage_sampler(folder: Path, params: Params, *, seed: int) -> StageSampler:
    """Load the trained parts in a folder, with the section `sample` of params.yaml.

    Raises:
        ValueError: If a part is missing, damaged or was trained with other parts, or a param of any
            sampler is missing or out of range.
    """
    config, samplers = _read(params)
    parts = load_parts(folder, best_device())
    sampler = samplers[choose_sampler(config.sampler, parts.prior.primitive)]
    return StageSampler(Generator(*parts, config, sampler), config, seed)


def _read(params: Params) -> tuple[SampleConfig, dict[str, Kind]]:
    """Read the section `sample`: its own keys, and the sampler of each kind."""
    config = params.section("sample", SampleConfig, besides=kind_names(SAMPLERS))
    # All samplers' sections are params of the stage, so all are checked, not only the chosen one.
    return config, {kind: _read_sampler(kind, params) for kind in kind_names(SAMPLERS)}


def _read_sampler(kind: str, params: Params) -> Kind:
    module = load_kind(SAMPLERS, kind, param="sample.sampler")
    return Kind(kind, module, params.section(f"sample.{kind}", module.Config))
