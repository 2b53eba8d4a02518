"""Train the tokenizer on the training images, in `data/tokenizer/`."""

import sys
from pathlib import Path

from stages.command import run
from stages.training import session
from vqpriors import tokenizer
from vqpriors.artifact import save_model
from vqpriors.evaluation.tokenization import collapse_warning, measure_tokenization
from vqpriors.images import ImageSet, read_images, read_source
from vqpriors.params import Params
from vqpriors.training.image_data import ImageExamples
from vqpriors.training.loop import TrainConfig, train

IMAGES = Path("data/images")


def main(params: Params) -> None:
    """Train, save the best weights and the last, measure on whole splits."""
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    config = params.section("tokenizer.train", TrainConfig)
    source = read_source(IMAGES)
    images = {split: read_images(IMAGES, split) for split in ("train", "validation", "test")}
    with session("train_tokenizer", params) as work:
        description = tokenizer.describe(
            arch=arch.name,
            config=arch.config,
            quantizer=quantizer.name,
            quantizer_config=quantizer.config,
            image_size=source["image_size"],
            channels=source["channels"],
        )
        model = tokenizer.build(description)
        trained = train(
            model,
            phases=arch.config.phases,
            config=config,
            training=ImageExamples(images["train"].pixels),
            validation=ImageExamples(images["validation"].pixels),
            seed=work.seed,
            folder=work.folder,
            log=work.log,
        )
        if work.is_main:
            model.load_state_dict(trained.best)
            model.eval()
            quality = {
                split: _measure(model, images[split], config) for split in ("validation", "test")
            }
            work.report(
                trained, {f"{s}/{name}": v for s, q in quality.items() for name, v in q.items()}
            )
            _print(quality["validation"], model.num_codes)
            save_model(
                Path("data/tokenizer"), config=description, weights=trained.best, last=trained.last
            )


def _measure(model: tokenizer.Tokenizer, images: ImageSet, config: TrainConfig) -> dict[str, float]:
    settings = {"batch_size": config.batch_size, "precision": config.precision}
    codes = tokenizer.encode_pixels(model, images.pixels, **settings)
    restored = tokenizer.decode_codes(model, codes, **settings)
    return measure_tokenization(images.pixels, restored, codes, codebook_size=model.num_codes)


def _print(quality: dict[str, float], num_codes: int) -> None:
    print(
        f"validation: PSNR {quality['psnr']:.2f} dB, SSIM {quality['ssim']:.3f}, "
        f"codebook usage {quality['codebook_usage']:.1%}"
    )
    if warning := collapse_warning(quality, codebook_size=num_codes):
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    run("train_tokenizer", main)
