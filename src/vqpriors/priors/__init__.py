"""The contract of a prior: a distribution over the codes of a picture, given its caption.

A prior module exports `Config` (a `Section` with `phases`) and
`build(config, *, grid, codebook_size, text) -> Prior`. A prior does not sample: it offers a
primitive, and samplers own the loop, so that a change of temperature retrains nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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
        length: Number of tokens N.
        is_exact: Whether `nats` is the negative log-likelihood; else it estimates a bound on it.
        num_draws: Uniform draws an example that `losses` takes.
    """

    sampler: str
    length: int
    is_exact: bool
    num_draws: int

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses of a batch.

        What else is worth a curve, such as an accuracy, may stand in the attribute `measured`
        afterwards: scalars by name, without gradients.

        Args:
            batch: "codes", (B, N) int64; "draws", (B, num_draws) float, uniform in 0..1, all the
                randomness besides dropout; the captions, see `text_of`; and "text_is_empty",
                (B,) bool, whether a caption was dropped or there was none.
        """
        ...

    def nats(self, codes: Tensor, text: TextInput, noise: Tensor) -> Tensor:
        """Return each picture's negative log-likelihood, or an estimate of a bound on it.

        Args:
            codes: (B, N) int64.
            text: The captions.
            noise: What an estimate draws, if it is one; (B, 1 + N) float, uniform in 0..1.

        Returns:
            (B,) float32, nats.
        """
        ...

    def fill(self, codes: Tensor, is_hidden: Tensor, text: TextInput) -> Tensor:
        """Return codes, (B, N) int64, whose hidden cells, (N,) bool, are the likeliest ones.

        A quick look at what a prior knows, for watching it train; samplers do better.
        """
        ...


class StepwisePrior(Prior, Protocol):
    """A prior that writes one code after the other, in raster order.

    Attributes:
        begin: The token that stands before the first code.
    """

    begin: int

    def start(self, text: TextInput) -> Any:
        """Return the state before the first step; the text side is computed here, once."""
        ...

    def step(self, token: Tensor, state: Any) -> Tensor:
        """Take the token before, (B,) int64, and return the next one's logits, (B, K) float.

        The state is changed in place.
        """
        ...


class MaskedPrior(Prior, Protocol):
    """A prior that guesses any codes from any others, all at once.

    Attributes:
        mask: The token that stands for a code to guess.
        grid: Rows and columns of codes.
        latent_width: Width of the latent that `start` may take; 0 for none.
    """

    mask: int
    grid: tuple[int, int]
    latent_width: int

    def start(self, text: TextInput, latent: Tensor | None = None) -> Any:
        """Return what all passes over a picture share; the text side is computed here, once.

        Args:
            text: The captions.
            latent: What one pass is to agree on where there is no other code to agree with;
                (B, latent_width) float, standard normal. Captions may be several times as many, as
                for guidance: then each latent is its picture's with the first B of them, and the
                same with the others. None for none.
        """
        ...

    def logits(self, tokens: Tensor, state: Any, is_wanted: Tensor) -> Tensor:
        """Return the logits of some cells.

        Args:
            tokens: Codes, and `mask` where they are unknown; (B, N) int64.
            state: What `start` returned.
            is_wanted: Cells to guess, (B, N) bool.

        Returns:
            (M, K) float, in the order of `tokens[is_wanted]`.
        """
        ...


class Captioner(Protocol):
    """A prior that also writes captions for pictures, in the tokens that it reads.

    Attributes:
        text_length: Number of tokens L of a caption, padding included.
        text_mask: The token that stands for one to guess.
    """

    text_length: int
    text_mask: int

    def learn_looks(self, codebook: Tensor) -> None:
        """Take in, before training, the vectors that codes stand for, (K, V) float.

        Codes that look alike then read alike from the first step on. Kept with the weights.
        """
        ...

    def start_caption(self, codes: Tensor) -> Any:
        """Return what all passes share; the picture, (B, N) int64, is looked at here, once."""
        ...

    def caption_logits(self, tokens: Tensor, state: Any, is_wanted: Tensor) -> Tensor:
        """Return the logits of some tokens of a caption, (M, V) float; as `MaskedPrior.logits`."""
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


class Likelihood(NamedTuple):
    """The negative log-likelihood of pictures, or a bound on it.

    Attributes:
        nats: Over all pictures.
        standard_error: Of `nats` as an estimate of the bound; 0 where it is exact.
    """

    nats: float
    standard_error: float


@torch.inference_mode()
def likelihood(
    prior: Any,
    codes: np.ndarray,
    captions: Sequence[str],
    *,
    encode: Callable[[Sequence[str]], TextInput],
    batch_size: int,
    num_samples: int,
    seed: int,
) -> Likelihood:
    """Add up the negative log-likelihood of pictures, in float32, batch by batch.

    Args:
        prior: A trained prior, on its device.
        codes: (M, N) integers.
        captions: M captions.
        encode: Encodes captions; a text encoder's method.
        batch_size: Pictures at a time.
        num_samples: Estimates a picture where the prior gives a bound.
        seed: Start of the estimates' randomness.
    """
    device, length = next(prior.parameters()).device, codes.shape[1]
    generator = torch.Generator().manual_seed(seed)
    rounds = 1 if prior.is_exact else num_samples
    total = variance = 0.0
    for start in range(0, len(codes), batch_size):
        rows = slice(start, start + batch_size)
        batch = torch.from_numpy(codes[rows].astype(np.int64)).to(device)
        text = encode(captions[rows]).to(device)
        noise = torch.rand(rounds, len(batch), 1 + length, generator=generator)
        # Spread evenly over the numbers of masked codes, which cost most of the variance.
        noise[:, :, 0] = (noise[0, :, 0] + torch.arange(rounds)[:, None] / rounds) % 1
        found = torch.stack([prior.nats(batch, text, n.to(device)).double() for n in noise])
        total += float(found.mean(0).sum())
        variance += float(found.var(0).sum()) / rounds if rounds > 1 else 0.0
    return Likelihood(total, variance**0.5)
