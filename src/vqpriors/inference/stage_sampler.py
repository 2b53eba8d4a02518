"""The generator of the `sample` stage, with the settings and the seed of params.yaml."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from vqpriors.core.params import Kind, Params
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.samples import SheetRow
from vqpriors.data.tokens import TokenSet
from vqpriors.inference.editing import edit_mask
from vqpriors.inference.generator import Generator, Request, Settings
from vqpriors.sampling.base.choosing import choose_sampler

SAMPLERS = "vqpriors.sampling"


class SampleConfig(Settings):
    """The keys of `sample` in params.yaml that all samplers share."""

    prompts: list[str]
    num_prompts: int = Field(ge=1)
    num_per_prompt: int = Field(ge=1)
    sheet_prompts: int = Field(ge=1)
    sheet_per_prompt: int = Field(ge=1)
    sheet_temperatures: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    sheet_edits: int = Field(ge=1)
    compared_steps: list[Annotated[int, Field(ge=1)]]
    compared_pictures: int = Field(ge=1)


@dataclass
class StageSampler:
    """A generator with the settings and the seed of the `sample` stage.

    Attributes:
        generator: The trained parts.
        config: The keys that all samplers share.
        seed: The run's.
    """

    generator: Generator
    config: SampleConfig
    seed: int

    @property
    def compared_steps(self) -> list[int]:
        """Numbers of decoding steps to compare; one where the sampler leaves no choice."""
        if not self.generator.has_steps:
            return [self.generator.spec.length]
        return list(dict.fromkeys(self.config.compared_steps))

    def sample_codes(
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
            steps: Decoding steps, for samplers that leave a choice; default: the config's.
            given: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            temperature: Default: the sampler's own.

        Returns:
            (M, N) uint16.
        """
        steps = steps if self.generator.has_steps else None
        request = Request(steps=steps, temperature=temperature, seed=self.seed)
        return self.generator.codes(captions, request, purpose=purpose, given=given)

    def sample_timed(
        self, captions: Sequence[str], *, purpose: str, steps: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Draw and decode; return codes, pixels and seconds a picture."""
        began = time.perf_counter()
        codes = self.sample_codes(captions, purpose=purpose, steps=steps)
        pixels = self.generator.pixels(codes)
        return codes, pixels, (time.perf_counter() - began) / len(captions)

    def sample_sheets(self, test: TokenSet, captions: Sequence[str]) -> list[SheetRow]:
        """Draw the codes of the sheets of samples, temperatures and edits.

        Args:
            test: Codes and captions of the test split, which the edits start from.
            captions: The prompts; the first different ones are shown.
        """
        return [*self._prompt_rows(captions), *self._edit_rows(test)]

    def _prompt_rows(self, captions: Sequence[str]) -> Iterator[SheetRow]:
        shown = list(dict.fromkeys(captions))[: self.config.sheet_prompts]
        repeated = [each for each in shown for _ in range(self.config.sheet_per_prompt)]
        own, wanted = self.generator.sampler.config.temperature, self.config.sheet_temperatures
        drawn = {
            value: self.sample_codes(repeated, purpose="sheet", temperature=value)
            for value in dict.fromkeys([own, *wanted])
        }
        for sheet, values in (("samples", [own]), ("temperatures", wanted)):
            for value in values:
                for caption, codes in zip(repeated, drawn[value].tolist(), strict=True):
                    yield SheetRow(sheet, f"temperature {value}", caption, codes, [])

    def _edit_rows(self, test: TokenSet) -> Iterator[SheetRow]:
        spec, count = self.generator.spec, min(self.config.sheet_edits, len(test))
        codes, captions = test.codes[:count], test.captions[:count]
        for edit in self.generator.sampler.module.EDITS:
            keep = edit_mask(edit, spec.rows, spec.columns, count=count, seed=self.seed)
            drawn = self.sample_codes(captions, purpose=edit, given=(codes, keep))
            for row in zip(captions, drawn.tolist(), keep.tolist(), strict=True):
                yield SheetRow("edits", edit, *row)


def load_stage_sampler(folder: Path, params: Params, *, seed: int) -> StageSampler:
    """Load the trained parts in a folder, and the settings of `sample` in params.yaml."""
    config = params.section("sample", SampleConfig, besides=kind_names(SAMPLERS))
    # All are checked: a change of any reruns the stage, which would otherwise accept a wrong one.
    samplers = {kind: _read_sampler(kind, params) for kind in kind_names(SAMPLERS)}
    generator = Generator.assemble(
        folder, lambda primitive: (config, samplers[choose_sampler(config.sampler, primitive)])
    )
    return StageSampler(generator, config, seed)


def _read_sampler(kind: str, params: Params) -> Kind:
    module = load_kind(SAMPLERS, kind, param="sample.sampler")
    return Kind(kind, module, params.section(f"sample.{kind}", module.Config))
