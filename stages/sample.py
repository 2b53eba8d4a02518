"""Draw pictures by prompt from the trained prior, in `data/samples/`, with sheets of them."""

import json
from contextlib import ExitStack
from pathlib import Path

from stages.command import run
from stages.painter import Painter, load_painter
from stages.sheets import draw_sheets
from vqpriors import pictures
from vqpriors.artifact import new_file
from vqpriors.images import read_images
from vqpriors.params import Params, Seed
from vqpriors.samples import Comparison, Written, choose_prompts, write_samples
from vqpriors.tokens import TokenSet, read_tokens

SHEETS = Path("metrics/sample")


def main(params: Params) -> None:
    """Draw every prompt's pictures, time that, draw the sheets, then write all of it."""
    painter = load_painter(params, seed=params.value("seed", Seed))
    config, generator = painter.config, painter.generator
    test = read_tokens(Path("data/tokens"), "test", tokenizer=generator.spec.fingerprint)
    prompts = [
        prompt
        for prompt in choose_prompts(config.prompts, test, limit=config.num_prompts)
        for _ in range(config.num_per_prompt)
    ]
    captions = [prompt.caption for prompt in prompts]
    codes, pixels, seconds = painter.timed(captions, purpose="sample")
    written, compared = _write_captions(painter, test), _compare_steps(painter, test)
    originals = read_images(Path("data/images"), "test").pixels
    sheets = draw_sheets(painter, test, originals, captions)
    with ExitStack() as stack:  # if one file can't be written, none is replaced
        for name, sheet in sheets.items():
            pictures.save_png(sheet, stack.enter_context(new_file(SHEETS / f"{name}.png")))
        numbers = stack.enter_context(new_file(SHEETS / "metrics.json"))
        numbers.write_text(json.dumps({"images_per_second": 1 / seconds}, indent=2) + "\n")
        write_samples(
            Path("data/samples"),
            prompts,
            pixels=pixels,
            codes=codes,
            spec=generator.spec,
            written=written,
            compared=compared,
        )
    print(f"{len(prompts):,} pictures, {1 / seconds:.1f} a second; sheets in {SHEETS}")


def _write_captions(painter: Painter, test: TokenSet) -> list[Written]:
    if not painter.generator.is_captioner:
        return []
    count = painter.config.captions.num_pictures
    texts = painter.generator.write(test.codes[:count], seed=painter.seed)
    return [Written(*row) for row in zip(test.ids, test.captions, texts, strict=False)]


def _compare_steps(painter: Painter, test: TokenSet) -> list[Comparison]:
    """Draw the same prompts in different numbers of steps, where the sampler leaves a choice."""
    config = painter.config
    prompts = choose_prompts([], test, limit=config.compared_pictures)
    captions = [prompt.caption for prompt in prompts]
    generator = painter.generator
    choices = config.compared_steps if generator.has_steps else [generator.spec.length]
    found = []
    for steps in dict.fromkeys(choices):
        _, pixels, seconds = painter.timed(captions, purpose="compare", steps=steps)
        found.append(Comparison(steps, prompts, pixels, seconds))
    return found


if __name__ == "__main__":
    run("sample", main)
