"""Measure the chain on the test split, in `metrics/evaluate/metrics.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages.command import run
from vqpriors import priors, text, tokenizer
from vqpriors.artifact import new_file, verify
from vqpriors.evaluation.judge import Judge, load
from vqpriors.evaluation.likelihood import measure_likelihood
from vqpriors.evaluation.memorisation import nearest_training_distance
from vqpriors.evaluation.sample_quality import measure_samples, wanted_attributes
from vqpriors.evaluation.tokenization import measure_tokenization
from vqpriors.hardware import best_device
from vqpriors.images import ImageSet, read_images
from vqpriors.params import Params, Section
from vqpriors.samples import Prompt, read_samples
from vqpriors.tokens import read_tokens

TEXT = Path("data/text")
METRICS = Path("metrics/evaluate/metrics.json")


class EvaluateConfig(Section):
    """`evaluate` of params.yaml."""

    batch_size: int = Field(ge=1)


def main(params: Params) -> None:
    """Measure tokenizer, prior and samples; print and write the numbers."""
    config = params.section("evaluate", EvaluateConfig)
    device = best_device()
    images = {split: read_images(Path("data/images"), split) for split in ("train", "test")}
    model, spec = tokenizer.load(Path("data/tokenizer"), device)
    tokens = read_tokens(Path("data/tokens"), "test", tokenizer=spec.fingerprint)
    prompts, pixels, _ = read_samples(Path("data/samples"), tokenizer=spec.fingerprint)
    restored = tokenizer.decode_codes(
        model, tokens.codes, batch_size=config.batch_size, precision="no"
    )
    prior = priors.load(
        Path("data/prior"), device, tokenizer=spec.fingerprint, encoder=verify(TEXT)
    )
    encode = text.load(TEXT).encode
    nats = priors.total_nats(
        prior, tokens.codes, tokens.captions, encode=encode, batch_size=config.batch_size
    )
    test = images["test"].pixels
    metrics: dict[str, Any] = {
        **measure_tokenization(test, restored, tokens.codes, codebook_size=spec.codebook_size),
        **measure_likelihood(nats, num_tokens=tokens.codes.size, num_values=test.size),
        **_judged(load(Path("data/judge"), device), images, prompts, pixels),
        "nearest_train_distance": nearest_training_distance(pixels, images["train"].pixels),
        "nearest_train_distance_real": nearest_training_distance(test, images["train"].pixels),
        "num_samples": len(pixels),
        **json.loads(Path("metrics/sample/metrics.json").read_text()),
    }
    with new_file(METRICS) as file:
        file.write_text(json.dumps(metrics, indent=2) + "\n")
    print("\n".join(f"{name:32}{value:10.4g}" for name, value in metrics.items()))


def _judged(
    judge: Judge | None, images: dict[str, ImageSet], prompts: list[Prompt], pixels: np.ndarray
) -> dict[str, float]:
    if judge is None:
        return {}
    test = images["test"]
    known = dict(zip([*test.captions, *test.ids], test.attributes * 2, strict=True))
    return measure_samples(
        judge,
        drawn=pixels,
        wanted=wanted_attributes(((p.id, p.caption) for p in prompts), known),
        real=test.pixels,
        real_attributes=test.attributes,
        training_attributes=images["train"].attributes,
    )


if __name__ == "__main__":
    run("evaluate", main)
