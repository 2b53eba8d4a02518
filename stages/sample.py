"""Draw pictures by prompt from the trained prior, in `data/samples/`, with sheets of them."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from stages.command import run
from vqpriors import pictures, priors, text, tokenizer
from vqpriors.artifact import new_file, verify
from vqpriors.hardware import Precision, best_device
from vqpriors.images import read_images
from vqpriors.params import Kind, Params, Section, Seed
from vqpriors.plugins import kind_names, load_kind
from vqpriors.samples import choose_prompts, write_samples
from vqpriors.sampling import sample_codes
from vqpriors.seeds import derived_seed
from vqpriors.tokens import TokenSet, TokenSpec, read_tokens

TEXT = Path("data/text")
SHEETS = Path("metrics/sample")
NUM_ORIGINALS = 32  # pictures on the sheets of reconstructions and of random codes


class SampleConfig(Section):
    """The keys of `sample` in params.yaml that every sampler shares."""

    prompts: list[str]
    num_prompts: int = Field(ge=1)
    num_per_prompt: int = Field(ge=1)
    guidance: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    precision: Precision
    sheet_prompts: int = Field(ge=1)
    sheet_per_prompt: int = Field(ge=1)
    sheet_temperatures: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)


@dataclass
class Painter:
    """Everything between captions and pictures."""

    prior: Any
    tokenizer: Any
    encoder: text.TextEncoder
    sampler: Kind
    config: SampleConfig

    def codes(self, captions: Sequence[str], *, seed: int, **changes: float) -> np.ndarray:
        """Draw codes, (M, N) uint16, for M captions, with changes to the sampler's settings."""
        settings = self.sampler.config.model_copy(update=changes)
        return sample_codes(
            self.prior,
            self.sampler.module.build(settings),
            captions,
            encode=self.encoder.encode,
            guidance=self.config.guidance,
            batch_size=self.config.batch_size,
            precision=self.config.precision,
            seed=seed,
        )

    def pixels(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes to (M, C, H, W) uint8."""
        settings = {"batch_size": self.config.batch_size, "precision": self.config.precision}
        return tokenizer.decode_codes(self.tokenizer, codes, **settings)


def main(params: Params) -> None:
    """Draw every prompt's pictures, time that, draw the sheets, then write all of it."""
    seed, config = params.value("seed", Seed), _config(params)
    painter, spec = _load(params, config)
    test = read_tokens(Path("data/tokens"), "test", tokenizer=spec.fingerprint)
    prompts = [
        prompt
        for prompt in choose_prompts(config.prompts, test, limit=config.num_prompts)
        for _ in range(config.num_per_prompt)
    ]
    began = time.perf_counter()
    codes = painter.codes([p.caption for p in prompts], seed=derived_seed(seed, "sample"))
    pixels = painter.pixels(codes)
    rate = len(prompts) / (time.perf_counter() - began)
    sheets = _sheets(painter, test, spec, captions=[p.caption for p in prompts], seed=seed)
    with ExitStack() as stack:  # if one file can't be written, none is replaced
        for name, sheet in sheets.items():
            pictures.save_png(sheet, stack.enter_context(new_file(SHEETS / f"{name}.png")))
        numbers = stack.enter_context(new_file(SHEETS / "metrics.json"))
        numbers.write_text(json.dumps({"images_per_second": rate}, indent=2) + "\n")
        write_samples(Path("data/samples"), prompts, pixels=pixels, codes=codes, spec=spec)
    print(f"{len(prompts):,} pictures, {rate:.1f} a second; sheets in {SHEETS}")


def _config(params: Params) -> SampleConfig:
    return params.section("sample", SampleConfig, besides=kind_names("vqpriors.sampling"))


def _load(params: Params, config: SampleConfig) -> tuple[Painter, TokenSpec]:
    device = best_device()
    model, spec = tokenizer.load(Path("data/tokenizer"), device)
    prior = priors.load(
        Path("data/prior"), device, tokenizer=spec.fingerprint, encoder=verify(TEXT)
    )
    module = load_kind("vqpriors.sampling", prior.sampler, param="prior.arch")
    settings = params.section(f"sample.{prior.sampler}", module.Config)
    encoder = text.load(TEXT)
    return Painter(prior, model, encoder, Kind(prior.sampler, module, settings), config), spec


def _sheets(
    painter: Painter, test: TokenSet, spec: TokenSpec, *, captions: list[str], seed: int
) -> dict[str, Image.Image]:
    config = painter.config
    shown = list(dict.fromkeys(captions))[: config.sheet_prompts]
    repeated = [caption for caption in shown for _ in range(config.sheet_per_prompt)]
    settings = painter.sampler.config
    by_temperature = {
        temperature: _by_prompt(painter, repeated, len(shown), seed, temperature=temperature)
        for temperature in {*config.sheet_temperatures, settings.temperature}
    }
    columns = [by_temperature[value] for value in config.sheet_temperatures]
    originals = read_images(Path("data/images"), "test").pixels[:NUM_ORIGINALS]
    noise = np.random.default_rng(derived_seed(seed, "random codes"))
    random = noise.integers(spec.codebook_size, size=(NUM_ORIGINALS, spec.length))
    return {
        "samples": pictures.captioned_sheet(by_temperature[settings.temperature], shown, across=2),
        "temperatures": pictures.comparison_sheet(
            np.stack(columns, axis=1),
            shown,
            [f"temperature {value}" for value in config.sheet_temperatures],
        ),
        "reconstructions": pictures.pair_sheet(
            originals, painter.pixels(test.codes[:NUM_ORIGINALS])
        ),
        "random_codes": pictures.grid_sheet(painter.pixels(random)),
    }


def _by_prompt(
    painter: Painter, captions: list[str], num_prompts: int, seed: int, **changes: float
) -> np.ndarray:
    codes = painter.codes(captions, seed=derived_seed(seed, "sheet"), **changes)
    pixels = painter.pixels(codes)
    return pixels.reshape(num_prompts, -1, *pixels.shape[1:])  # (P, S, C, H, W)


if __name__ == "__main__":
    run("sample", main)
