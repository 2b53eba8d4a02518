"""Draw pictures from prompts with the trained prior, to `data/samples/`."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from stages import run
from vqpriors.core.artifact import new_file
from vqpriors.core.params import Params, Seed
from vqpriors.data.samples import Comparison, HeldOut, WrittenCaption, choose_prompts, write_samples
from vqpriors.data.tokens import TokenSet, read_tokens
from vqpriors.inference.stage_sampler import StageSampler, load_stage_sampler

METRICS = Path("metrics/sample/metrics.json")
STEPS = Path("metrics/sample/steps.tsv")


def main(params: Params) -> None:
    """Draw and time the pictures of the prompts and of the sheets, then write them."""
    sampler = load_stage_sampler(Path("data"), params, seed=params.value("seed", Seed))
    config, generator = sampler.config, sampler.generator
    split = params.value("evaluate.split", HeldOut)
    real = read_tokens(Path("data/tokens"), split, tokenizer=generator.spec.fingerprint)
    prompts = [
        prompt
        for prompt in choose_prompts(config.prompts, real, limit=config.num_prompts)
        for _ in range(config.num_per_prompt)
    ]
    captions = [prompt.caption for prompt in prompts]
    for line in generator.warnings_of(config.prompts):
        print(f"warning: sample.prompts: {line.removeprefix('prompt: ')}", file=sys.stderr)
    codes, pixels, seconds = sampler.sample_timed(captions, purpose="sample")
    written = _write_captions(sampler, real)
    compared, by_steps = _compare_steps(sampler, real)
    sheets = sampler.sample_sheets(real, captions)
    with ExitStack() as stack:  # if one file can't be written, none is replaced
        numbers = stack.enter_context(new_file(METRICS))
        numbers.write_text(json.dumps({"images_per_second": 1 / seconds}, indent=2) + "\n")
        by_steps.to_csv(stack.enter_context(new_file(STEPS)), sep="\t", index=False)
        write_samples(
            Path("data/samples"),
            prompts,
            pixels=pixels,
            codes=codes,
            spec=generator.spec,
            written=written,
            compared=compared,
            sheets=sheets,
        )
    print(f"{len(prompts):,} pictures, {1 / seconds:.1f} per second")
    if 0 < sampler.compared_pictures < config.compared_pictures:
        print(
            f"numbers of steps compared on {sampler.compared_pictures} pictures, not "
            f"{config.compared_pictures}: limited by sample.compared_tflop"
        )


def _write_captions(sampler: StageSampler, real: TokenSet) -> list[WrittenCaption]:
    if not sampler.generator.is_captioner:
        return []
    count = sampler.config.captions.num_pictures
    texts = sampler.generator.caption_codes(real.codes[:count], seed=sampler.seed)
    return [WrittenCaption(*row) for row in zip(real.ids, real.captions, texts, strict=False)]


def _compare_steps(sampler: StageSampler, real: TokenSet) -> tuple[list[Comparison], pd.DataFrame]:
    """Draw the same prompts with different numbers of decoding steps, and time each."""
    prompts = choose_prompts([], real, limit=sampler.compared_pictures)
    captions = [prompt.caption for prompt in prompts]
    found, seconds = [], {}
    for steps in sampler.compared_steps:
        _, pixels, seconds[steps] = sampler.sample_timed(captions, purpose="compare", steps=steps)
        found.append(Comparison(steps, prompts, pixels))
    return found, pd.DataFrame({"steps": seconds.keys(), "seconds_per_picture": seconds.values()})


if __name__ == "__main__":
    run("sample", main)
