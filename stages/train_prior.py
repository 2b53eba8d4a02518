"""Train the prior of `prior.arch` on codes and captions and save it in `data/prior/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages import run
from vqpriors.core.artifact import new_file, save_model, verify
from vqpriors.core.hardware import best_device
from vqpriors.core.params import Count, Params, Share
from vqpriors.data.images import encode_png
from vqpriors.data.pixels import HIDDEN_GRAY, tile, upscale_cells
from vqpriors.data.text_inputs import TextInput
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import TokenSet, read_tokens
from vqpriors.priors.base.examples import token_examples
from vqpriors.priors.base.loading import build_prior, describe_prior
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.coding import decode_codes
from vqpriors.tokenizer.base.loading import load_tokenizer
from vqpriors.tokenizer.base.reconstruction import psnr
from vqpriors.training.config import read_train_config
from vqpriors.training.session import TrainingTask, open_session

TOKENS = Path("data/tokens")
TEXT = Path("data/text")
FIGURE = Path("metrics/train_prior/inpainting.png")  # rows: original, given, completed
NUM_PREVIEWS = 32  # validation pictures whose lower half is completed
COLUMNS, GAP = 8, 4  # pictures in a row of the figure, pixels between them
UPSCALED_EDGE = 84  # pixels, at most, of small pictures in the figure


@dataclass
class CompletionPreview:
    """A callback that inpaints the lower half of a few pictures, for a curve and a figure.

    Attributes:
        tokenizer: Decodes the codes.
        codes: Codes of the pictures, (M, N) integers.
        text: Captions of the pictures.
        grid: Rows and columns of codes.
        mask: True at the codes to predict, (N,) bool.
    """

    tokenizer: Any
    codes: np.ndarray
    text: TextInput
    grid: tuple[int, int]
    mask: torch.Tensor

    def __call__(self, prior: Any) -> dict[str, float]:
        """Return the PSNR of completed against reconstructed pictures; write the figure."""
        device = next(prior.parameters()).device
        codes = torch.from_numpy(self.codes.astype(np.int64)).to(device)
        filled = prior.fill(codes, self.mask.to(device), self.text.to(device))
        original, completed = self._decode(self.codes), self._decode(filled.cpu().numpy())
        keep = upscale_cells(~self.mask.numpy(), size=original.shape[2:], grid=self.grid)
        given = np.where(keep, original, HIDDEN_GRAY).astype(np.uint8)
        rows = [
            part[i : i + COLUMNS]
            for i in range(0, len(original), COLUMNS)
            for part in (original, given, completed)
        ]
        scale = max(1, UPSCALED_EDGE // original.shape[-1])
        with new_file(FIGURE) as file:
            figure = tile(np.concatenate(rows), columns=COLUMNS, gap=GAP, scale=scale)
            file.write_bytes(encode_png(figure))
        return {"inpainting_psnr": psnr(original, completed)}

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        return decode_codes(self.tokenizer, codes, batch_size=NUM_PREVIEWS, precision="no")


def main(params: Params) -> None:
    """Train the prior and save its best and last weights."""
    with open_session("train_prior", params) as session:
        task = prepare(params)
        trained = task.run(session)
        if session.is_main:
            model, callback = task.model, task.callback
            assert callback is not None
            model.load_state_dict(trained.best)
            model.to(best_device())
            size = sum(p.numel() for p in model.parameters())
            session.report(trained, {"parameters": size, **callback(model.eval())})
            save_model(
                Path("data/prior"), config=task.description, weights=trained.best, last=trained.last
            )


def prepare(params: Params) -> TrainingTask:
    """Build the prior, its examples, and the preview after each epoch."""
    arch = params.kind("prior.arch", "vqpriors.priors")
    encoder = load_encoder(TEXT)
    decoder, spec = load_tokenizer(Path("data/tokenizer"), best_device())
    tokens = {
        split: read_tokens(TOKENS, split, tokenizer=spec.fingerprint)
        for split in ("train", "validation")
    }
    description = describe_prior(
        arch=arch.name,
        config=arch.config,
        grid=spec.grid,
        codebook_size=spec.codebook_size,
        text=encoder.shape,
        tokenizer=spec.fingerprint,
        encoder=verify(TEXT),
    )
    model = build_prior(description)
    if model.is_captioner:
        model.set_codebook(decoder.codebook().cpu())
    dropout = params.value("prior.caption_dropout", Share)
    settings = {"encode": encoder.encode, "dropout": dropout, "num_draws": model.num_draws}
    examples = {
        split: token_examples(part.codes, part.all_captions or part.captions, **settings)
        for split, part in tokens.items()
    }
    return TrainingTask(
        model,
        phases=arch.config.phases,
        config=read_train_config(params, "prior.train"),
        training=examples["train"],
        validation=examples["validation"],
        description=description,
        callback=_preview(decoder, spec, tokens["validation"], encoder),
        callback_epochs=params.value("prior.preview_epochs", Count),
    )


def _preview(
    decoder: Any, spec: TokenSpec, validation: TokenSet, encoder: TextEncoder
) -> CompletionPreview:
    grid = spec.grid
    mask = torch.arange(spec.length) >= spec.rows // 2 * spec.columns
    captions = encoder.encode(validation.captions[:NUM_PREVIEWS])
    return CompletionPreview(decoder, validation.codes[:NUM_PREVIEWS], captions, grid, mask)


if __name__ == "__main__":
    run("train_prior", main)
