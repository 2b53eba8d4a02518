"""The generator: a trained tokenizer, text encoder and prior that draw, edit and caption pictures.

generator = Generator.load("data")
pictures = generator("a small red seven on a white background", num_samples=4)
"""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vqpriors.core.seeds import derived_seed
from vqpriors.inference.arguments import (
    Given,
    public,
    read_picture,
    read_pictures,
    to_codes,
    to_device,
    to_flag,
    to_path,
    to_text,
    to_texts,
)
from vqpriors.inference.editing import codes_to_keep, edit_mask
from vqpriors.inference.loading import load_parts, open_source
from vqpriors.inference.masks import read_mask
from vqpriors.inference.model import FolderKeeper, TrainedModel
from vqpriors.inference.pasting import paster
from vqpriors.inference.pictures import PictureCallback, preview_callback, to_pictures, to_pixels
from vqpriors.inference.prompts import warnings_of
from vqpriors.inference.saving import push_generator, save_generator
from vqpriors.inference.settings import SamplingOptions, read_settings, repeat_prompts
from vqpriors.sampling.base.captioning import caption_codes
from vqpriors.sampling.base.sampler import Callback, no_callback, sample_codes
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels

_LOG = logging.getLogger(__name__)


class Generator(TrainedModel):
    """A trained model that draws pictures from prompts, redraws parts of them and captions them.

    Wherever a method takes a picture, it also takes the path of a picture file, such as PNG, JPEG
    or WebP. Its attributes are those of `TrainedModel`.
    """

    @classmethod
    @public("Generator.load")
    def load(
        cls,
        source: str | Path = "data",
        revision: str | None = None,
        *,
        device: str | torch.device | None = None,
        compile: bool | None = None,
    ) -> "Generator":
        """Load the outputs of a checkout's stages, a saved generator, or one from the Hub.

        Args:
            source: A folder with `tokenizer/`, `text/`, `prior/`, and either `settings.json` or a
                checkout's params.yaml beside it; or, if there is no such folder, "default" for the
                digits model that comes with the package, or a Hub id.
            revision: For a folder, a commit or DVC experiment to take the parts from; they are
                loaded by the current code. On the Hub, a commit, tag or branch.
            device: Device of the networks, such as "cpu" or "cuda:1"; None for the first GPU, or
                the CPU if there is none.
            compile: Whether to draw with parts in C, as `sample.compile` of params.yaml; None for
                the model's setting.

        Raises:
            ValueError: If there is no such source, revision or device, or a part is missing,
                damaged or was trained with other parts.
        """
        if not isinstance(source, (str, Path)):
            raise ValueError(f"source: must be a folder or a Hub id, got {type(source).__name__}")
        place = to_device(device)
        with ExitStack() as stack:
            parts = load_parts(stack.enter_context(open_source(source, revision)), place)
            defaults, sampler = read_settings(parts.folder, parts.prior.primitive)
            if compile is not None:
                changes = {"compile": to_flag("compile", compile)}
                defaults = defaults.model_copy(update=changes)
            return cls(*parts, defaults, sampler, keeper=FolderKeeper(stack))

    @public("generator.save")
    def save(self, path: str | Path, *, name: str | None = None, half: bool = False) -> None:
        """Write a folder that `load` reads, or replace one that `save` has written.

        The weights after the last update, which only training needs, are left out.

        Args:
            path: The folder; missing, empty, or written by `save`. A model card that has been
                edited is kept; the log says so.
            name: The name in the model card; default: the folder's name.
            half: Whether to store weights in float16, for half the size; `load` returns float32.

        Raises:
            ValueError: If the folder holds files that `save` has not written; nothing is changed.
        """
        names = [] if name is None else to_texts("name", name)
        target, is_half = to_path("path", path), to_flag("half", half)
        save_generator(self, target, names[0] if names else None, is_half=is_half)

    @public("generator.push")
    def push(self, repository: str, *, private: bool = True, revision: str | None = None) -> str:
        """Upload to the Hugging Face Hub in one commit; return the address.

        A new model card replaces the one that is there.

        Uses the login of HF_TOKEN or `hf auth login`.

        Args:
            repository: A Hub id, owner/name; created if missing.
            private: Whether to create the repository as private; an existing one is not changed.
            revision: A branch, created if missing; None for the main one.

        Raises:
            ValueError: If it is not a Hub id, or the Hub can't be reached or refuses.
        """
        return push_generator(self, repository, is_private=private, branch=revision)

    @public("generator")
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_samples: int = 1,
        steps: int | None = None,
        temperature: float | None = None,
        guidance: float | None = None,
        seed: int = 0,
        callback: PictureCallback | None = None,
    ) -> list[Image.Image]:
        """Draw pictures from prompts.

        Args:
            prompt: A text, or several.
            num_samples: Pictures for each prompt.
            steps: Decoding steps, for masked priors only; default: params.yaml.
            temperature: Divides the logits; default: params.yaml.
            guidance: Guidance scale on the logits, 1 for none; default: params.yaml.
            seed: The same call with the same seed gives the same pictures.
            callback: Called after each decoding step of a batch of `defaults.batch_size` pictures.

        Returns:
            All pictures of the first prompt, then of the next.

        Raises:
            ValueError: If an argument is out of range; names it.
        """
        prompts = repeat_prompts(prompt, num_samples)
        return self._draw(prompts, SamplingOptions(steps, temperature, guidance, seed), callback)

    @public("generator.inpaint")
    def inpaint(
        self,
        picture: Given,
        mask: Given,
        prompt: str = "",
        *,
        num_samples: int = 1,
        steps: int | None = None,
        temperature: float | None = None,
        guidance: float | None = None,
        seed: int = 0,
        paste: bool = True,
        callback: PictureCallback | None = None,
    ) -> list[Image.Image]:
        """Redraw the white part of a mask, in whole patches of a code each (masked priors only).

        Picture and mask may have any mode, and any size of the same proportions. They are cropped
        and resized to the tokenizer's size. `inference/masks.py` says how transparent masks are
        read. The prompt describes the whole picture. Other arguments and errors are those of
        `__call__`; there is also a ValueError as in `read_mask`.

        With `paste`, pixels that are not marked are those of the picture, but for a soft edge
        (`inference/pasting.py`); otherwise all are decoded from codes.
        """
        picture, mask = read_picture("picture", picture), read_picture("mask", mask)
        marked = read_mask(mask, picture, self.image)
        keep = codes_to_keep(marked, *self.spec.grid)
        options = SamplingOptions(steps, temperature, guidance, seed)
        prompts = repeat_prompts(to_text("prompt", prompt), num_samples)
        known = self._known(picture, keep[None], num_samples)
        if not paste:
            return self._draw(prompts, options, callback, known)
        pasted = paster(to_pixels(picture, self.image), marked)
        preview = callback and (lambda pictures: callback(pasted(pictures)))
        return pasted(self._draw(prompts, options, preview, known))

    @public("generator.vary")
    def vary(
        self,
        picture: Given,
        prompt: str = "",
        *,
        num_samples: int = 1,
        steps: int | None = None,
        temperature: float | None = None,
        guidance: float | None = None,
        seed: int = 0,
        callback: PictureCallback | None = None,
    ) -> list[Image.Image]:
        """Redraw a random half of a picture's codes, another half in each sample; as `inpaint`."""
        picture = read_picture("picture", picture)
        options = SamplingOptions(steps, temperature, guidance, seed)
        prompts = repeat_prompts(to_text("prompt", prompt), num_samples)
        grid = self.spec.grid
        keep = edit_mask("variation", *grid, count=num_samples, seed=seed)
        known = self._known(picture, keep, num_samples)
        return self._draw(prompts, options, callback, known)

    @public("generator.caption")
    def caption(self, picture: Given | Sequence[Given], *, seed: int = 0) -> list[str]:
        """Generate a caption for each picture, of any size and mode.

        Raises:
            ValueError: If the prior can't caption, or there is no picture.
        """
        if not self.is_captioner:
            fix = "train one that does (`dvc exp run -S prior.arch=cftn2`)"
            raise ValueError(f"prior.arch: this prior writes no captions; {fix}")
        options = SamplingOptions(seed=seed)
        return self.caption_codes(self.encode(picture), seed=options.seed)

    @public("generator.reconstruct")
    def reconstruct(self, picture: Given) -> Image.Image:
        """Encode and decode a picture."""
        return to_pictures(self.decode(self.encode([picture])))[0]

    @public("generator.encode")
    def encode(self, pictures: Given | Sequence[Given]) -> np.ndarray:
        """Encode one or several pictures to codes, (M, N) uint16."""
        read = read_pictures("picture", pictures)
        pixels = np.stack([to_pixels(picture, self.image) for picture in read])
        return encode_pixels(self.tokenizer, pixels, **self._batching)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes, (M, N) integers, to pixels, (M, C, H, W) uint8."""
        spec = self.spec
        codes = to_codes("codes", codes, length=spec.length, codebook_size=spec.codebook_size)
        return decode_codes(self.tokenizer, codes, **self._batching)

    def caption_codes(self, codes: np.ndarray, *, seed: int) -> list[str]:
        """Generate a caption for each picture, given as codes, (M, N) integers."""
        return caption_codes(
            self.prior,
            codes,
            self.defaults.captions,
            decode=self.encoder.decode,
            seed=derived_seed(seed, "captions"),
            **self._batching,
        )

    def sample_codes(
        self,
        prompts: Sequence[str],
        options: SamplingOptions,
        *,
        purpose: str = "generate",
        known: tuple[np.ndarray, np.ndarray] | None = None,
        callback: Callback = no_callback,
    ) -> np.ndarray:
        """Draw the codes of a picture for each prompt.

        Args:
            prompts: M texts.
            options: Sampling options; a ValueError names one that is not supported.
            purpose: Part of the seed, so that each purpose has its own random numbers.
            known: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            callback: Called after each decoding step of a batch.

        Returns:
            (M, N) uint16.
        """
        if options.steps is not None and not self.has_steps:
            raise ValueError("steps: this prior draws one code after another; leave it out")
        changes = {}
        if options.temperature is not None:
            changes = dict.fromkeys(self.sampler.module.TEMPERATURES, options.temperature)
        return sample_codes(
            self.prior,
            self.sampler.module.build(self.sampler.changed(changes)),
            prompts,
            encode=self.encoder.encode,
            guidance=self.defaults.guidance if options.guidance is None else options.guidance,
            steps=options.steps or self.defaults.steps,
            seed=derived_seed(options.seed, purpose),
            known=known,
            callback=callback,
            compile=self.defaults.compile,
            **self._batching,
        )

    def warnings_of(self, prompts: Sequence[str]) -> list[str]:
        """Return a line for each prompt that is not read whole or has unknown words."""
        kind = json.loads((self.folder / "text/config.json").read_text())["encoder"]
        return warnings_of(self.encoder, prompts, kind=kind)

    @property
    def _batching(self) -> dict[str, Any]:
        return {"batch_size": self.defaults.batch_size, "precision": self.defaults.precision}

    def _known(
        self, picture: Image.Image, keep: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if "in-painting" not in self.sampler.module.EDITS:
            problem = "this prior draws in one order, from the top"
            raise ValueError(f"redrawing: {problem}; train a masked one (prior.arch=cftn)")
        codes = self.encode([picture]).repeat(count, axis=0)
        return codes, np.broadcast_to(keep, codes.shape).copy()

    def _draw(
        self,
        prompts: Sequence[str],
        options: SamplingOptions,
        callback: PictureCallback | None,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> list[Image.Image]:
        for line in self.warnings_of(prompts):
            _LOG.warning("%s", line)
        preview = preview_callback(callback, self.decode, grid=self.spec.grid)
        codes = self.sample_codes(prompts, options, known=known, callback=preview)
        return to_pictures(self.decode(codes))
