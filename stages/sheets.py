"""The sheets that the sample stage leaves to be looked at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from stages.painter import Painter
from vqpriors import pictures
from vqpriors.editing import EDITS, HIDDEN, kept_by, upscale
from vqpriors.seeds import derived_seed
from vqpriors.tokens import TokenSet

NUM_ORIGINALS = 32  # pictures on the sheets of reconstructions and of random codes


def draw_sheets(
    painter: Painter, test: TokenSet, originals: np.ndarray, captions: Sequence[str]
) -> dict[str, Image.Image]:
    """Draw every sheet, by name.

    Args:
        painter: Draws.
        test: The test split's codes and captions.
        originals: Its pictures, (M, C, H, W) uint8.
        captions: What was asked for.
    """
    spec, config = painter.generator.spec, painter.config
    shown = list(dict.fromkeys(captions))[: config.sheet_prompts]
    own = painter.generator.sampler.config.temperature
    by_temperature = {
        value: _by_prompt(painter, shown, value) for value in {*config.sheet_temperatures, own}
    }
    columns = [by_temperature[value] for value in config.sheet_temperatures]
    noise = np.random.default_rng(derived_seed(painter.seed, "random codes"))
    random = noise.integers(spec.codebook_size, size=(NUM_ORIGINALS, spec.length))
    headings = [f"temperature {value}" for value in config.sheet_temperatures]
    return {
        "samples": pictures.captioned_sheet(by_temperature[own], shown, across=2),
        "temperatures": pictures.comparison_sheet(np.stack(columns, axis=1), shown, headings),
        "edits": _edits(painter, test),
        "reconstructions": pictures.pair_sheet(
            originals[:NUM_ORIGINALS], painter.generator.pixels(test.codes[:NUM_ORIGINALS])
        ),
        "random_codes": pictures.grid_sheet(painter.generator.pixels(random)),
    }


def _by_prompt(painter: Painter, shown: Sequence[str], temperature: float) -> np.ndarray:
    repeated = [caption for caption in shown for _ in range(painter.config.sheet_per_prompt)]
    pixels = painter.generator.pixels(
        painter.codes(repeated, purpose="sheet", temperature=temperature)
    )
    return pixels.reshape(len(shown), -1, *pixels.shape[1:])  # (P, S, C, H, W)


def _edits(painter: Painter, test: TokenSet) -> Image.Image:
    """Each edit that suits the sampler, of the first test pictures: what is kept, what comes."""
    spec, count = painter.generator.spec, min(painter.config.sheet_edits, len(test))
    codes, captions = test.codes[:count], test.captions[:count]
    whole = painter.generator.pixels(codes)
    blocks = [pictures.Block([whole], "the pictures, as their codes restore them")]
    for edit in painter.generator.sampler.module.EDITS:
        assert edit in EDITS
        kept = kept_by(edit, spec.rows, spec.columns, count=count, seed=painter.seed)
        drawn = painter.codes(captions, purpose=edit, given=(codes, kept))
        shown = upscale(kept, size=whole.shape[2:], grid=(spec.rows, spec.columns))
        given = np.where(shown, whole, HIDDEN).astype(np.uint8)
        blocks.append(pictures.Block([given, painter.generator.pixels(drawn)], edit))
    return pictures.sheet(blocks)
