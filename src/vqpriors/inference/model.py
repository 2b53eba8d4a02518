"""The parts of a trained model: their device, their description, copies and abilities."""

import copy
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Self

import torch

from vqpriors.core.params import Kind
from vqpriors.data.decoding import ImageConfig
from vqpriors.data.token_spec import TokenSpec
from vqpriors.inference.arguments import public, to_device
from vqpriors.inference.settings import SamplingDefaults
from vqpriors.text.base.encoder import TextEncoder


class FolderKeeper:
    """Keeps the temporary copy of a revision as long as any generator refers to it."""

    def __init__(self, stack: ExitStack):
        weakref.finalize(self, stack.pop_all().close)


@dataclass(repr=False, eq=False)
class TrainedModel:
    """The parts of a trained model, and what it can do.

    Attributes:
        prior: The prior: a distribution over codes, given a caption.
        tokenizer: Converts pictures to codes and back.
        spec: Grid and codebook of the codes.
        encoder: The text encoder.
        image: Size and channels of the pictures.
        arch: The kind of prior, such as "cftn2".
        folder: The folder that the parts were loaded from.
        fingerprint: SHA-256 of the prior's weights, 64 hex digits. It identifies the model, since
            a prior is trained on the codes of one tokenizer.
        defaults: Defaults of the sampling options.
        sampler: The sampler, with its settings.
    """

    prior: Any
    tokenizer: Any
    spec: TokenSpec
    encoder: TextEncoder
    image: ImageConfig
    arch: str
    folder: Path
    fingerprint: str
    defaults: SamplingDefaults
    sampler: Kind
    keeper: FolderKeeper | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        """Return kind, sizes, device and the start of the fingerprint, in one line."""
        codes = f"{self.spec.rows} x {self.spec.columns} codes of {self.spec.codebook_size:,}"
        sizes = f"{self.image.size} px, {codes}"
        return f"Generator({self.arch}, {sizes}, on {self.device}, {self.fingerprint[:12]})"

    def __copy__(self) -> Self:
        """Return a generator that shares the networks."""
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a generator with its own networks."""
        parts = {name: copy.deepcopy(getattr(self, name), memo) for name in ("prior", "tokenizer")}
        return replace(self, **parts, encoder=copy.deepcopy(self.encoder, memo))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: models are kept in files with checksums.

        Raises:
            TypeError: Always.
        """
        fix = "use `save`, and `Generator.load` in the other process"
        raise TypeError(f"a generator can't be pickled; {fix}")

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.prior.parameters()).device

    @public("generator.to")
    def to(self, device: str | torch.device) -> Self:
        """Move the networks to a device; return the generator.

        Raises:
            ValueError: If the device is not available.
        """
        place = to_device(device)
        self.prior.to(place)
        self.tokenizer.to(place)
        return self

    @property
    def has_steps(self) -> bool:
        """Whether the number of decoding steps can be chosen."""
        return self.sampler.module.HAS_STEPS

    def temperature_for(self, steps: int | None = None) -> float:
        """Return the default temperature of a call with so many steps (default: params.yaml)."""
        sampler = self.sampler.module.build(self.sampler.config)
        return sampler.temperature_for(self.prior, steps or self.defaults.steps)

    @property
    def reads_text(self) -> bool:
        """Whether pictures depend on prompts."""
        return self.encoder.shape.length > 0

    @property
    def is_captioner(self) -> bool:
        """Whether the prior can caption pictures."""
        return self.prior.is_captioner
