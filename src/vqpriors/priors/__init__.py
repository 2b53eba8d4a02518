"""The contract of a prior: a distribution over the codes of a picture, given its caption.

A prior module exports `Config` (a `Section` with `phases`) and
`build(config, *, grid, codebook_size, text) -> Prior`. A prior does not sample: it offers a
primitive, and samplers own the loop, so that a change of temperature retrains nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vqpriors.artifact import load_model
from vqpriors.conditioning import TextInput, TextShape
from vqpriors.params import Section, check
from vqpriors.plugins import load_kind

Batch = dict[str, Tensor]


class Prior(Protocol):
    """What every prior has.

    Attributes:
        sampler: Name of the kind in `vqpriors.sampling` that draws from it.
    """

    sampler: str

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses of "codes", (B, N) int64, with their captions."""
        ...

    def nats(self, codes: Tensor, text: TextInput) -> Tensor:
        """Return each picture's negative log-likelihood, or a bound on it, in nats; (B,) float."""
        ...


class StepwisePrior(Prior, Protocol):
    """A prior that writes one code after the other, in raster order.

    Attributes:
        length: Number of tokens N.
        begin: The token that stands before the first code.
    """

    length: int
    begin: int

    def start(self, text: TextInput) -> Any:
        """Return the state before the first step; the text side is computed here, once."""
        ...

    def step(self, token: Tensor, state: Any) -> Tensor:
        """Take the token before, (B,) int64, and return the next one's logits, (B, K) float.

        The state is changed in place.
        """
        ...


def text_of(batch: Batch) -> TextInput:
    """Return the captions of a batch."""
    return TextInput(batch["text_tokens"], batch["text_is_real"], batch.get("text_features"))


def describe(
    *,
    arch: str,
    config: Section,
    grid: tuple[int, int],
    codebook_size: int,
    text: TextShape,
    tokenizer: str,
    encoder: str,
) -> dict[str, Any]:
    """Return the config that a prior's artifact keeps, from which `load` builds it again.

    Args:
        arch: The prior's kind.
        config: Its section of params.yaml.
        grid: Rows and columns of codes.
        codebook_size: Number of codes K.
        text: Sizes of the encoded captions.
        tokenizer: Fingerprint of the tokenizer whose codes it learned.
        encoder: Fingerprint of the text encoder whose tokens it reads.
    """
    return {
        "arch": arch,
        "config": config.model_dump(),
        "grid": list(grid),
        "codebook_size": codebook_size,
        "text": text._asdict(),
        "tokenizer": tokenizer,
        "encoder": encoder,
    }


def build(description: dict[str, Any]) -> Any:
    """Build a prior, untrained, from what `describe` returned."""
    arch = description["arch"]
    module = load_kind("vqpriors.priors", arch, param="prior.arch")
    rows, columns = description["grid"]
    return module.build(
        check(f"prior.{arch}", description["config"], module.Config),
        grid=(rows, columns),
        codebook_size=description["codebook_size"],
        text=TextShape(**description["text"]),
    )


def load(folder: Path, device: torch.device, *, tokenizer: str, encoder: str) -> Any:
    """Load a trained prior for inference, if it goes with a tokenizer and a text encoder.

    Args:
        folder: The prior's artifact.
        device: Where to put it.
        tokenizer: Fingerprint of the tokenizer that is to decode its codes.
        encoder: Fingerprint of the text encoder that is to give it captions.

    Raises:
        ValueError: If the folder is damaged or the prior was trained with others.
    """
    model = load_model(folder)
    for part, found in {"tokenizer": tokenizer, "encoder": encoder}.items():
        if model.config[part] != found:
            raise ValueError(
                f"{folder}: was trained with {part} {model.config[part][:12]}, not with "
                f"{found[:12]}; train it again with `dvc repro train_prior`"
            )
    prior = build(model.config)
    prior.load_state_dict(model.weights)
    return prior.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def total_nats(
    prior: Any,
    codes: np.ndarray,
    captions: Sequence[str],
    *,
    encode: Callable[[Sequence[str]], TextInput],
    batch_size: int,
) -> float:
    """Add up the negative log-likelihood of pictures, in float32, batch by batch.

    Args:
        prior: A trained prior, on its device.
        codes: (M, N) integers.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        batch_size: Pictures at a time.

    Returns:
        Nats over all M pictures, exact or a bound as the prior's `nats` says.
    """
    device = next(prior.parameters()).device
    total = 0.0
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(codes[rows].astype(np.int64)).to(device)
        total += float(prior.nats(batch, encode(captions[rows]).to(device)).double().sum())
    return total
