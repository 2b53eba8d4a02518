"""What stages draw with: a generator that goes by the params that DVC knows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from vqpriors.generator import Generator, Request, Settings
from vqpriors.params import Kind, Params
from vqpriors.plugins import kind_names, load_kind

DATA = Path("data")


class SampleConfig(Settings):
    """The keys of `sample` in params.yaml that every sampler shares."""

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
class Painter:
    """A generator with the settings and the seed of the `sample` stage.

    Attributes:
        generator: The trained parts.
        config: What every sampler shares.
        seed: The run's.
    """

    generator: Generator
    config: SampleConfig
    seed: int

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
            steps: Instead of the config's, where the sampler leaves the number open.
            given: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            temperature: Instead of the sampler's own.

        Returns:
            (M, N) uint16.
        """
        steps = steps if self.generator.has_steps else None
        request = Request(steps=steps, temperature=temperature, seed=self.seed)
        return self.generator.codes(captions, request, purpose=purpose, given=given)

    def timed(
        self, captions: Sequence[str], *, purpose: str, steps: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Draw and decode; return codes, pixels and seconds a picture."""
        began = time.perf_counter()
        codes = self.codes(captions, purpose=purpose, steps=steps)
        pixels = self.generator.pixels(codes)
        return codes, pixels, (time.perf_counter() - began) / len(captions)


def load_painter(params: Params, *, seed: int) -> Painter:
    """Load what the stages before have made, and the settings of `sample` in params.yaml."""
    config = params.section("sample", SampleConfig, besides=kind_names("vqpriors.sampling"))
    # All are checked, since a change of any reruns the stage, which would else take a wrong one.
    samplers = {kind: _sampler(kind, params) for kind in kind_names("vqpriors.sampling")}
    generator = Generator.assemble(DATA, lambda sampler: (config, samplers[sampler]))
    return Painter(generator, config, seed)


def _sampler(kind: str, params: Params) -> Kind:
    module = load_kind("vqpriors.sampling", kind, param="prior.arch")
    return Kind(kind, module, params.section(f"sample.{kind}", module.Config))
