"""Trained artifacts as one thing that draws, redraws and captions pictures.

generator = Generator.load("data")
pictures = generator("a small red seven on a white background", num_samples=4)
"""

import json
import shutil
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field
from torch import Tensor

from vqpriors.core.artifact import MANIFEST, new_folder, require_replaceable, verify
from vqpriors.core.hardware import Precision, best_device
from vqpriors.core.params import Kind, Section, check
from vqpriors.core.registry import load_kind
from vqpriors.core.seeds import derived_seed
from vqpriors.data.decoding import ImageConfig, fit
from vqpriors.data.pixels import HIDDEN_GRAY, upscale_cells
from vqpriors.data.tokens import TokenSpec
from vqpriors.inference.bundle import BESIDE, CARD, PARTS, SETTINGS
from vqpriors.inference.editing import codes_to_keep, edit_mask
from vqpriors.inference.limits import MAX_PICTURES, MAX_PROMPT_LENGTH, MAX_STEPS
from vqpriors.priors.base.loading import load_prior
from vqpriors.sampling.base.captioning import CaptionConfig, write_captions
from vqpriors.sampling.base.choosing import choose_sampler
from vqpriors.sampling.base.sampler import Watch, sample_codes, unwatched
from vqpriors.text.base.encoder import TextEncoder, load_encoder
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels
from vqpriors.tokenizer.base.loading import load_tokenizer

Look = Callable[[list[Image.Image]], None]
"""Is shown the pictures so far, gray where no code is written yet; of one batch at a time."""


class Settings(Section):
    """The keys of `sample` in params.yaml that say how to draw, whoever asks."""

    sampler: str
    steps: int = Field(ge=1)
    guidance: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    precision: Precision
    captions: CaptionConfig


@dataclass(frozen=True)
class Request:
    """How to draw; what is None is as the settings say.

    Attributes:
        steps: Passes over a picture; of masked priors alone.
        temperature: Divides the logits.
        guidance: Scale s of u + s(c - u) on the logits; 1 is none.
        seed: The same request with the same seed gives the same pictures.
    """

    steps: int | None = None
    temperature: float | None = None
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise a ValueError that names what is out of range."""
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(
                f"steps: must be 1 to {MAX_STEPS}, got {self.steps}; choose another number"
            )
        for name in ("temperature", "guidance"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name}: must be 0 to 100, got {value}; choose another number")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: must be 0 to 2^63 - 1, got {self.seed}; choose another number")


@dataclass
class Generator:
    """Draws pictures from prompts, redraws parts of pictures, and captions them.

    Attributes:
        prior: Draws codes.
        tokenizer: Decodes them.
        spec: What they mean.
        encoder: Reads captions.
        sampler: The kind of sampler, with its settings.
        settings: What stands for arguments that a call leaves out.
        image: The pictures' size and channels.
        folder: Where the parts came from.
    """

    prior: Any
    tokenizer: Any
    spec: TokenSpec
    encoder: TextEncoder
    sampler: Kind
    settings: Settings
    image: ImageConfig
    folder: Path

    @classmethod
    def load(cls, source: str | Path = "data", revision: str | None = None) -> "Generator":
        """Load what a checkout's stages have made, what `save` has written, or what `push` has.

        Args:
            source: A folder that holds `tokenizer/`, `text/` and `prior/`, and `settings.json`, or
                lies beside a checkout's params.yaml; or where there is no such folder, a hub id.
            revision: Of a folder, a commit or experiment of DVC whose parts to take instead, read
                by the code that is here; on the hub, a commit, tag or branch.

        Raises:
            ValueError: If there is no such source or revision, a part is missing or damaged, or
                does not go with the others.
        """
        from vqpriors.publish import dvc_revision, hub  # here: to publish changes no picture

        folder = Path(source)
        with ExitStack() as stack:
            if not folder.is_dir() and hub.is_id(source):
                folder = hub.fetch(str(source), revision, parts=PARTS, besides=[SETTINGS])
            elif revision is not None:
                around = [SETTINGS, *(f"../{name}" for name in BESIDE)]
                copy = dvc_revision.copied(folder, revision, parts=PARTS, besides=around)
                folder = stack.enter_context(copy)
            _require_parts(folder)
            generator = cls.assemble(folder, lambda primitive: _read_settings(folder, primitive))
            weakref.finalize(generator, stack.pop_all().close)  # of a copy, which `save` reads
        return generator

    @classmethod
    def assemble(
        cls, folder: Path, settings_for: Callable[[str], tuple[Settings, Kind]]
    ) -> "Generator":
        """Load the parts in a folder.

        Args:
            folder: Holds the parts.
            settings_for: Returns the settings and the sampler for a prior's primitive.

        Raises:
            ValueError: As `load`.
        """
        device = best_device()
        model, spec = load_tokenizer(folder / "tokenizer", device)
        encoder = verify(folder / "text")
        prior = load_prior(folder / "prior", device, tokenizer=spec.fingerprint, encoder=encoder)
        settings, sampler = settings_for(prior.primitive)
        shape = json.loads((folder / "tokenizer/config.json").read_text())
        image = ImageConfig(
            size=shape["image_size"],
            channels=shape["channels"],
            resize="crop",
            background="#ffffff",
        )
        reader = load_encoder(folder / "text")
        return cls(prior, model, spec, reader, sampler, settings, image, folder)

    def save(self, path: str | Path, *, name: str | None = None) -> None:
        """Write all that `load` needs to a new folder, or replace one that `save` has written.

        Args:
            path: The folder; missing, empty, or written by `save`. Its model card is written anew.
            name: The name in the model card; default: the folder's name.

        Raises:
            ValueError: If the folder holds files that `save` has not written; nothing is changed.
        """
        from vqpriors.publish.model_card import read_origin, write_card

        path, origin = Path(path), read_origin(self.folder)
        require_replaceable(path, required=SETTINGS, allowed=[CARD])
        card = write_card(self, name or path.absolute().name, origin)
        with new_folder(path) as target:
            for part in PARTS:
                shutil.copytree(self.folder / part, target / part)
            kept = {"sample": self.sample_settings(), "origin": origin.model_dump()}
            (target / SETTINGS).write_text(json.dumps(kept, indent=2) + "\n")
        (path / CARD).write_text(card)  # not in the manifest: it may be edited, here and on the hub

    def push(self, repository: str, *, private: bool = True, revision: str | None = None) -> str:
        """Put all that `load` needs on the Hugging Face hub, with a model card, in one commit.

        Whose login it takes, HF_TOKEN or `hf auth login` says.

        Args:
            repository: A hub id, owner/name; it is made if it is not there.
            private: Whether a repository that is made is hidden; one that is there stays as it is.
            revision: A branch, made if it is not there; None for the main one.

        Returns:
            The repository's address.

        Raises:
            ValueError: If it is no hub id, or the hub can't be reached or refuses.
        """
        from vqpriors.publish import hub

        hub.require_id(repository)
        with TemporaryDirectory(prefix="vqpriors-") as temporary:
            folder = Path(temporary) / "generator"
            self.save(folder, name=repository)
            return hub.push(folder, repository, is_private=private, branch=revision, parts=PARTS)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_samples: int = 1,
        look: Look | None = None,
        **how: Any,
    ) -> list[Image.Image]:
        """Draw pictures.

        Args:
            prompt: A text, or several.
            num_samples: Pictures of each.
            look: Called after each pass over a batch of `settings.batch_size` pictures.
            how: `steps`, `temperature`, `guidance` and `seed`, see `Request`.

        Returns:
            All pictures of the first prompt, then of the next.

        Raises:
            ValueError: If an argument is out of range; names it.
        """
        prompts = self._repeated(prompt, num_samples)
        return self._pictures(self.codes(prompts, Request(**how), watch=self._shown_to(look)))

    def inpaint(
        self,
        picture: Image.Image,
        mask: Image.Image,
        prompt: str = "",
        *,
        num_samples: int = 1,
        look: Look | None = None,
        **how: Any,
    ) -> list[Image.Image]:
        """Draw the marked part of a picture again; each code stands for a patch of it.

        Args:
            picture: Of any size and mode; cropped and resized to the tokenizer's.
            mask: White where it is to be drawn again; treated as the picture.
            prompt: What is to be there.
            num_samples: How many times.
            look: As of a call.
            how: As of a call.
        """
        marked = fit(mask, self.image.model_copy(update={"channels": 1}))[0] >= 128
        is_kept = codes_to_keep(marked, self.spec.rows, self.spec.columns)
        if is_kept.all():
            raise ValueError("mask: nothing is marked; paint what to draw again white")
        return self._redraw(picture, is_kept[None], prompt, num_samples, Request(**how), look)

    def vary(
        self,
        picture: Image.Image,
        prompt: str = "",
        *,
        num_samples: int = 1,
        look: Look | None = None,
        **how: Any,
    ) -> list[Image.Image]:
        """Keep half of a picture's codes, another half each time, and draw the rest again.

        Args:
            picture: As of `inpaint`.
            prompt: What it is to show.
            num_samples: How many variations.
            look: As of a call.
            how: As of a call.
        """
        request, grid = Request(**how), (self.spec.rows, self.spec.columns)
        is_kept = edit_mask("variation", *grid, count=num_samples, seed=request.seed)
        return self._redraw(picture, is_kept, prompt, num_samples, request, look)

    def caption(self, picture: Image.Image | Sequence[Image.Image], *, seed: int = 0) -> list[str]:
        """Write a caption for each picture.

        Raises:
            ValueError: If the prior writes none.
        """
        if not self.is_captioner:
            raise ValueError(
                "prior.arch: this prior writes no captions; train one that does "
                "(`dvc exp run -S prior.arch=cftn2`)"
            )
        pictures = [picture] if isinstance(picture, Image.Image) else list(picture)
        return self.write(self.encode(pictures), seed=seed)

    def reconstruct(self, picture: Image.Image) -> Image.Image:
        """Return a picture as its codes tell it."""
        return self._pictures(self.encode([picture]))[0]

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Return pictures' codes, (M, N) uint16."""
        pixels = np.stack([fit(picture, self.image) for picture in pictures])
        settings = {"batch_size": self.settings.batch_size, "precision": self.settings.precision}
        return encode_pixels(self.tokenizer, pixels, **settings)

    @property
    def has_steps(self) -> bool:
        """Whether the sampler leaves the number of passes open."""
        return self.sampler.module.HAS_STEPS

    @property
    def reads_text(self) -> bool:
        """Whether prompts mean anything to it."""
        return self.encoder.shape.length > 0

    @property
    def is_captioner(self) -> bool:
        """Whether the prior writes captions, too."""
        return hasattr(self.prior, "start_caption")

    def sample_settings(self) -> dict[str, Any]:
        """Return what stands for arguments that a call leaves out, as `sample` in params.yaml."""
        own = {self.sampler.name: self.sampler.config.model_dump()}
        return self.settings.model_dump(include=set(Settings.model_fields)) | own

    def require_one_batch(self, count: int, asked_by: str) -> None:
        """Refuse more pictures than are drawn at a time, since each batch is shown by itself.

        Raises:
            ValueError: If there are more; names who asked.
        """
        if count > self.settings.batch_size:
            raise ValueError(
                f"{asked_by}: at most {self.settings.batch_size:,} pictures, which are drawn at a "
                f"time (sample.batch_size), got {count:,}; draw fewer"
            )

    def write(self, codes: np.ndarray, *, seed: int) -> list[str]:
        """Write a caption for each picture's codes, (M, N) integers."""
        return write_captions(
            self.prior,
            codes,
            self.settings.captions,
            decode=self.encoder.decode,
            batch_size=self.settings.batch_size,
            precision=self.settings.precision,
            seed=derived_seed(seed, "captions"),
        )

    def codes(
        self,
        prompts: Sequence[str],
        request: Request,
        *,
        purpose: str = "generate",
        given: tuple[np.ndarray, np.ndarray] | None = None,
        watch: Watch = unwatched,
    ) -> np.ndarray:
        """Draw codes.

        Args:
            prompts: M texts.
            request: How.
            purpose: Starts the randomness, with the request's seed.
            given: Codes, (M, N) integers, and which of them to keep, (M, N) bool.
            watch: Told after each pass over a batch.

        Returns:
            (M, N) uint16.
        """
        if request.steps is not None and not self.has_steps:
            raise ValueError("steps: this prior draws one code after the other; leave it out")
        changes = {} if request.temperature is None else {"temperature": request.temperature}
        settings, sampler = self.settings, self.sampler
        return sample_codes(
            self.prior,
            sampler.module.build(sampler.changed(changes)),
            prompts,
            encode=self.encoder.encode,
            guidance=settings.guidance if request.guidance is None else request.guidance,
            steps=request.steps or settings.steps,
            batch_size=settings.batch_size,
            precision=settings.precision,
            seed=derived_seed(request.seed, purpose),
            given=given,
            watch=watch,
        )

    def pixels(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes, (M, N) integers, to (M, C, H, W) uint8."""
        settings = {"batch_size": self.settings.batch_size, "precision": self.settings.precision}
        return decode_codes(self.tokenizer, codes, **settings)

    def _redraw(
        self,
        picture: Image.Image,
        is_kept: np.ndarray,
        prompt: str,
        num_samples: int,
        request: Request,
        look: Look | None,
    ) -> list[Image.Image]:
        prompts = self._repeated(prompt, num_samples)
        if "in-painting" not in self.sampler.module.EDITS:
            raise ValueError(
                "redrawing: this prior draws in one order, from the top; train one that does not "
                "(`dvc exp run -S prior.arch=cftn`)"
            )
        codes = self.encode([picture]).repeat(num_samples, axis=0)
        kept = np.broadcast_to(is_kept, codes.shape).copy()
        given, watch = (codes, kept), self._shown_to(look)
        return self._pictures(self.codes(prompts, request, given=given, watch=watch))

    def _shown_to(self, look: Look | None) -> Watch:
        if look is None:
            return unwatched

        def watch(codes: Tensor, is_written: Tensor) -> None:
            written = is_written.cpu().numpy()
            pixels = self.pixels(codes.masked_fill(~is_written, 0).cpu().numpy())
            grid = (self.spec.rows, self.spec.columns)
            shown = upscale_cells(written, size=pixels.shape[2:], grid=grid)
            look(_images(np.where(shown, pixels, HIDDEN_GRAY).astype(np.uint8)))

        return watch

    def _repeated(self, prompt: str | Sequence[str], num_samples: int) -> list[str]:
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if num_samples < 1 or not 1 <= len(prompts) * num_samples <= MAX_PICTURES:
            raise ValueError(
                f"num_samples: from 1 picture to {MAX_PICTURES:,} in all, got {num_samples} of "
                f"{len(prompts)} prompts; choose another number"
            )
        for each in prompts:
            if len(each) > MAX_PROMPT_LENGTH:
                raise ValueError(
                    f"prompt: at most {MAX_PROMPT_LENGTH:,} characters, got {len(each):,}"
                )
        return [each for each in prompts for _ in range(num_samples)]

    def _pictures(self, codes: np.ndarray) -> list[Image.Image]:
        return _images(self.pixels(codes))


def _images(pixels: np.ndarray) -> list[Image.Image]:
    return [
        Image.fromarray(each[0] if len(each) == 1 else each.transpose(1, 2, 0)) for each in pixels
    ]


def _require_parts(folder: Path) -> None:
    if not folder.is_dir():
        ways = "make it with `dvc repro`, bring it with `dvc pull`, or give a hub id"
        raise ValueError(f"{folder}: not there; {ways}")
    for part in PARTS:
        if not (folder / part / MANIFEST).is_file():
            ways = "make it with `dvc repro`, or bring it with `dvc pull`"
            raise ValueError(f"{folder / part}: not there; {ways}")


def _read_settings(folder: Path, primitive: str) -> tuple[Settings, Kind]:
    from ruamel.yaml import YAML, YAMLError  # what DVC reads params.yaml with

    path = folder / SETTINGS
    if not path.is_file():
        path = folder.absolute().parent / "params.yaml"
    try:
        values = YAML(typ="safe").load(path)["sample"]
        own = {name: values[name] for name in Settings.model_fields}
        settings = check("sample", own, Settings)
        sampler = choose_sampler(settings.sampler, primitive)
        chosen = values[sampler]
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; it says how to draw") from None
    except (YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no settings of `sample` in it ({error}); correct it") from None
    module = load_kind("vqpriors.sampling", sampler, param="sample.sampler")
    return settings, Kind(sampler, module, check(f"sample.{sampler}", chosen, module.Config))
