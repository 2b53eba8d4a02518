"""Train the prior that `prior.arch` names on codes and captions, in `data/prior/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.command import run
from stages.training import Job, session
from vqpriors import pictures, priors, text, tokenizer
from vqpriors.artifact import new_file, save_model, verify
from vqpriors.conditioning import TextInput
from vqpriors.editing import HIDDEN, upscale
from vqpriors.evaluation.reconstruction import psnr
from vqpriors.hardware import best_device
from vqpriors.params import Params, Share
from vqpriors.tokens import TokenSet, TokenSpec, read_tokens
from vqpriors.training.optimisation import TrainConfig
from vqpriors.training.token_data import token_examples

TOKENS = Path("data/tokens")
TEXT = Path("data/text")
SHEET = Path("metrics/train_prior/inpainting.png")
NUM_WATCHED = 32  # validation pictures whose lower half is filled in after each epoch
ACROSS = 8
NAMES = ("whole", "given", "likeliest codes")


@dataclass
class Watch:
    """Lets a prior fill in the lower half of a few pictures, for a curve and a sheet.

    Attributes:
        tokenizer: Decodes.
        codes: The pictures' codes, (M, N) integers.
        text: Their captions.
        grid: Rows and columns of codes.
        is_hidden: Cells to fill in, (N,) bool.
    """

    tokenizer: Any
    codes: np.ndarray
    text: TextInput
    grid: tuple[int, int]
    is_hidden: torch.Tensor

    def __call__(self, prior: Any) -> dict[str, float]:
        """Return how like the tokenizer's own reconstructions the pictures are; draw the sheet."""
        device = next(prior.parameters()).device
        codes = torch.from_numpy(self.codes.astype(np.int64)).to(device)
        filled = prior.fill(codes, self.is_hidden.to(device), self.text.to(device))
        whole, found = self._decode(self.codes), self._decode(filled.cpu().numpy())
        kept = upscale(~self.is_hidden.numpy(), size=whole.shape[2:], grid=self.grid)
        given = np.where(kept, whole, HIDDEN).astype(np.uint8)
        blocks = [
            pictures.Block([part[i : i + ACROSS] for part in (whole, given, found)], names=NAMES)
            for i in range(0, len(whole), ACROSS)
        ]
        with new_file(SHEET) as file:
            pictures.save_png(pictures.sheet(blocks), file)
        return {"inpainting_psnr": psnr(whole, found)}

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        return tokenizer.decode_codes(self.tokenizer, codes, batch_size=NUM_WATCHED, precision="no")


def main(params: Params) -> None:
    """Train and save the best weights and the last."""
    with session("train_prior", params) as work:
        job = prepare(params)
        trained = job.run(work)
        if work.is_main:
            model, look = job.model, job.look
            assert look is not None
            model.load_state_dict(trained.best)
            model.to(best_device())
            size = sum(p.numel() for p in model.parameters())
            work.report(trained, {"parameters": size, **look(model.eval())})
            save_model(
                Path("data/prior"), config=job.description, weights=trained.best, last=trained.last
            )


def prepare(params: Params) -> Job:
    """Build the prior, its examples, and what watches it."""
    arch = params.kind("prior.arch", "vqpriors.priors")
    encoder = text.load(TEXT)
    decoder, spec = tokenizer.load(Path("data/tokenizer"), best_device())
    tokens = {
        split: read_tokens(TOKENS, split, tokenizer=spec.fingerprint)
        for split in ("train", "validation")
    }
    description = priors.describe(
        arch=arch.name,
        config=arch.config,
        grid=(spec.rows, spec.columns),
        codebook_size=spec.codebook_size,
        text=encoder.shape,
        tokenizer=spec.fingerprint,
        encoder=verify(TEXT),
    )
    model = priors.build(description)
    if hasattr(model, "learn_looks"):
        model.learn_looks(decoder.codebook().cpu())
    dropout = params.value("prior.caption_dropout", Share)
    settings = {"encode": encoder.encode, "dropout": dropout, "num_draws": model.num_draws}
    examples = {
        split: token_examples(part.codes, part.captions, **settings)
        for split, part in tokens.items()
    }
    return Job(
        model,
        phases=arch.config.phases,
        config=params.section("prior.train", TrainConfig),
        training=examples["train"],
        validation=examples["validation"],
        description=description,
        look=_watch(decoder, spec, tokens["validation"], encoder),
    )


def _watch(decoder: Any, spec: TokenSpec, validation: TokenSet, encoder: text.TextEncoder) -> Watch:
    grid = (spec.rows, spec.columns)
    is_hidden = torch.arange(spec.length) >= spec.rows // 2 * spec.columns
    captions = encoder.encode(validation.captions[:NUM_WATCHED])
    return Watch(decoder, validation.codes[:NUM_WATCHED], captions, grid, is_hidden)


if __name__ == "__main__":
    run("train_prior", main)
