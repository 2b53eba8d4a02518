"""Train the tokenizer, or load a pretrained one, and save it in `data/tokenizer/`."""

import sys
from pathlib import Path
from typing import Any

from stages import run
from vqpriors.core.artifact import save_model
from vqpriors.core.hardware import best_device
from vqpriors.core.params import Params
from vqpriors.data.images import ImageSet, read_images, read_source
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels
from vqpriors.tokenizer.base.discriminator import DiscriminatorConfig
from vqpriors.tokenizer.base.loading import (
    build_tokenizer,
    complete_description,
    describe_tokenizer,
)
from vqpriors.tokenizer.base.metrics import collapse_warning, measure_tokenization
from vqpriors.tokenizer.base.reconstruction import SSIM_WINDOW
from vqpriors.tokenizer.base.tokenizer import Tokenizer
from vqpriors.training.checkpoint import StateDict
from vqpriors.training.config import read_train_config
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.session import TrainingTask, open_session

IMAGES = Path("data/images")
MEASURE_BATCH_SIZE = 64  # images, for a tokenizer that is not trained


def main(params: Params) -> None:
    """Train the tokenizer, measure it on full splits, save the best and the last weights.

    Without phases it is not trained, which suits a pretrained tokenizer.
    """
    with open_session("train_tokenizer", params) as session:
        task = prepare(params)
        trained = task.run(session)
        if session.is_main:
            model: Any = task.model
            model.load_state_dict(trained.best)
            model.to(best_device()).eval()
            size = trained.progress.batch_size or MEASURE_BATCH_SIZE
            settings = {"batch_size": size, "precision": task.config.shared.precision}
            values = _measure_splits(model, collapse_fix(params), **settings)
            if not task.phases:
                session.log(0, values)  # DVC requires at least one curve
            session.report(trained, values)
            save_model(
                Path("data/tokenizer"),
                config=complete_description(task.description, model),
                weights=_without_discriminator(trained.best),
                last=trained.last if task.phases else None,
            )


def prepare(params: Params) -> TrainingTask:
    """Build the tokenizer and its examples."""
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    source = read_source(IMAGES)
    if source["image_size"] < SSIM_WINDOW:
        raise ValueError(
            f"data.{source['name']}.image.size: must be at least {SSIM_WINDOW} to measure "
            f"reconstructions, got {source['image_size']}"
        )
    description = describe_tokenizer(
        arch=arch.name,
        config=arch.config,
        quantizer=quantizer.name,
        quantizer_config=quantizer.config,
        image_size=source["image_size"],
        channels=source["channels"],
        resize=source["resize"],
        background=source["background"],
    )
    model: Any = build_tokenizer(description)
    discriminator = params.section("tokenizer.discriminator", DiscriminatorConfig)
    is_sharpened = any(phase.options.get("sharpen") for phase in arch.config.phases.values())
    if is_sharpened and params.value("train.compile", bool):
        raise ValueError("train.compile: must be false with a phase that sharpens; change one")
    if is_sharpened and hasattr(model, "add_discriminator"):
        model.add_discriminator(width=discriminator.width)
    return TrainingTask(
        model,
        phases=arch.config.phases,
        config=read_train_config(params, "tokenizer.train"),
        training=ImageExamples(read_images(IMAGES, "train").pixels),
        validation=ImageExamples(read_images(IMAGES, "validation").pixels),
        description=description,
    )


def _without_discriminator(state: StateDict) -> StateDict:
    return StateDict({k: v for k, v in state.items() if not k.startswith("discriminator.")})


def collapse_fix(params: Params) -> str:
    """Return what helps against a collapsed codebook, by the kind of tokenizer or quantizer."""
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    fixes = (getattr(kind.module, "COLLAPSE_FIX", None) for kind in (arch, quantizer))
    return next(filter(None, fixes), "use fewer codes")


def _measure_splits(model: Tokenizer, fix: str, **settings: Any) -> dict[str, float]:
    quality = {
        split: _measure(model, read_images(IMAGES, split), **settings)
        for split in ("validation", "test")
    }
    _print(quality["validation"], model.num_codes, fix)
    return {f"{split}/{name}": v for split, q in quality.items() for name, v in q.items()}


def _measure(model: Tokenizer, images: ImageSet, **settings: Any) -> dict[str, float]:
    codes = encode_pixels(model, images.pixels, **settings)
    restored = decode_codes(model, codes, **settings)
    return measure_tokenization(images.pixels, restored, codes, codebook_size=model.num_codes)


def _print(quality: dict[str, float], num_codes: int, fix: str) -> None:
    print(
        f"validation: PSNR {quality['psnr']:.2f} dB, SSIM {quality['ssim']:.3f}, "
        f"codebook usage {quality['codebook_usage']:.1%}"
    )
    if warning := collapse_warning(quality, codebook_size=num_codes, fix=fix):
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    run("train_tokenizer", main)
