"""Evaluate tokenizer, prior and samples on the test split; write metrics and sheets."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL.Image import Image
from pydantic import Field

from stages import run
from vqpriors.core.artifact import new_file, verify
from vqpriors.core.hardware import best_device
from vqpriors.core.params import Params, Section, Seed
from vqpriors.core.seeds import derived_seed
from vqpriors.data.images import ImageSet, read_images
from vqpriors.data.samples import Prompt, read_captions, read_comparisons, read_samples, read_sheets
from vqpriors.data.tokens import TokenSet, TokenSpec, read_tokens
from vqpriors.evaluation.captions import measure_captions
from vqpriors.evaluation.codebook import codebook_table
from vqpriors.evaluation.likelihood import likelihood, measure_likelihood
from vqpriors.evaluation.memorisation import nearest_training_distance
from vqpriors.evaluation.sample_quality import measure_samples, requested_attributes
from vqpriors.figures.sample_sheets import draw_sheets
from vqpriors.judge.judging import load_judge
from vqpriors.judge.network import Judge
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import load_encoder
from vqpriors.tokenizer.base.coding import decode_codes
from vqpriors.tokenizer.base.loading import load_tokenizer
from vqpriors.tokenizer.base.metrics import measure_tokenization

TEXT = Path("data/text")
SAMPLES = Path("data/samples")
FOLDER = Path("metrics/evaluate")
METRICS, STEPS, CODEBOOK = (FOLDER / name for name in ("metrics.json", "steps.tsv", "codebook.tsv"))
QUALITY = ("adherence", "frechet_distance")  # metrics in the table of steps


class EvaluateConfig(Section):
    """`evaluate` of params.yaml."""

    batch_size: int = Field(ge=1)
    bound_samples: int = Field(ge=2)


def main(params: Params) -> None:
    """Compute and write all metrics, tables and sheets; print the metrics."""
    config = params.section("evaluate", EvaluateConfig)
    seed = derived_seed(params.value("seed", Seed), "evaluate")
    images = {split: read_images(Path("data/images"), split) for split in ("train", "test")}
    model, spec = load_tokenizer(Path("data/tokenizer"), best_device())
    tokens = read_tokens(Path("data/tokens"), "test", tokenizer=spec.fingerprint)
    prompts, pixels, _ = read_samples(SAMPLES, tokenizer=spec.fingerprint)
    decode = partial(decode_codes, model, batch_size=config.batch_size, precision="no")
    judge = load_judge(Path("data/judge"), best_device())
    test = images["test"].pixels
    metrics: dict[str, Any] = {
        **measure_tokenization(
            test, decode(tokens.codes), tokens.codes, codebook_size=spec.codebook_size
        ),
        **_likelihood(config, tokens, spec, num_values=test.size, seed=seed),
        **_sample_quality(judge, images, prompts, pixels),
        **_caption_accuracy(images["test"]),
        "nearest_train_distance": nearest_training_distance(pixels, images["train"].pixels),
        "nearest_train_distance_real": nearest_training_distance(test, images["train"].pixels),
        "num_samples": len(pixels),
    }
    tables = {
        STEPS: _quality_by_steps(judge, images),
        CODEBOOK: codebook_table(tokens.codes, codebook_size=spec.codebook_size),
    }
    sheets = draw_sheets(
        read_sheets(SAMPLES),
        decode=decode,
        test=tokens,
        originals=test,
        seed=params.value("seed", Seed),
    )
    _write(metrics, tables, sheets)
    print("\n".join(f"{name:32}{value:10.4g}" for name, value in metrics.items()))


def _write(
    metrics: dict[str, Any], tables: dict[Path, pd.DataFrame], sheets: dict[str, Image]
) -> None:
    with ExitStack() as stack:  # if writing one file fails, none is replaced
        for name, sheet in sheets.items():
            sheet.save(stack.enter_context(new_file(FOLDER / f"{name}.png")), format="PNG")
        for path, table in tables.items():
            table.to_csv(stack.enter_context(new_file(path)), sep="\t", index=False)
        file = stack.enter_context(new_file(METRICS))
        file.write_text(json.dumps(metrics, indent=2) + "\n")


def _likelihood(
    config: EvaluateConfig, tokens: TokenSet, spec: TokenSpec, *, num_values: int, seed: int
) -> dict[str, float]:
    prior = load_prior(
        Path("data/prior"), best_device(), tokenizer=spec.fingerprint, encoder=verify(TEXT)
    )
    total = likelihood(
        prior,
        tokens.codes,
        tokens.captions,
        encode=load_encoder(TEXT).encode,
        batch_size=config.batch_size,
        num_samples=config.bound_samples,
        seed=seed,
    )
    return measure_likelihood(
        total.nats,
        standard_error=total.standard_error,
        num_tokens=tokens.codes.size,
        num_values=num_values,
    )


def _sample_quality(
    judge: Judge | None,
    images: dict[str, ImageSet],
    prompts: Sequence[Prompt],
    pixels: np.ndarray,
) -> dict[str, float]:
    if judge is None:
        return {}
    test = images["test"]
    known = dict(zip([*test.captions, *test.ids], test.attributes * 2, strict=True))
    return measure_samples(
        judge,
        drawn=pixels,
        requested=requested_attributes(((p.id, p.caption) for p in prompts), known),
        real=test.pixels,
        real_attributes=test.attributes,
        training_attributes=images["train"].attributes,
    )


def _caption_accuracy(test: ImageSet) -> dict[str, float]:
    written = read_captions(SAMPLES)
    encoder = load_encoder(TEXT)

    def normalised(texts: Sequence[str]) -> list[str]:
        return encoder.decode(encoder.encode(texts).tokens)

    known = dict(zip(test.ids, test.attributes, strict=True))
    attributes = [known[row.id] for row in written]
    return measure_captions(
        [row.written for row in written],
        normalised([row.caption for row in written]),
        [dict(zip(row, normalised(list(row.values())), strict=True)) for row in attributes],
    )


def _quality_by_steps(judge: Judge | None, images: dict[str, ImageSet]) -> pd.DataFrame:
    """Return a table of sample quality by number of decoding steps."""
    rows = []
    for part in read_comparisons(SAMPLES):
        metrics = _sample_quality(judge, images, part.prompts, part.pixels)
        quality = {name: metrics[name] for name in QUALITY if name in metrics}
        rows.append({"steps": part.steps, **quality})
    return pd.DataFrame(rows, columns=None if rows else ["steps"])


if __name__ == "__main__":
    run("evaluate", main)
