"""Priors as artifacts: their description, and loading for inference."""

from pathlib import Path
from typing import Any

import torch

from vqpriors.core.artifact import load_model
from vqpriors.core.params import Section, check
from vqpriors.core.registry import load_kind
from vqpriors.data.text_inputs import TextShape


def describe_prior(
    *,
    arch: str,
    config: Section,
    grid: tuple[int, int],
    codebook_size: int,
    text: TextShape,
    tokenizer: str,
    encoder: str,
) -> dict[str, Any]:
    """Return the config of a prior's artifact, from which `build_prior` builds it.

    Args:
        arch: The prior's kind.
        config: Its section of params.yaml.
        grid: Rows and columns of codes.
        codebook_size: Number of codes K.
        text: Sizes of the encoded captions.
        tokenizer: Fingerprint of the tokenizer of its codes.
        encoder: Fingerprint of the text encoder of its captions.
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


def build_prior(description: dict[str, Any]) -> Any:
    """Build an untrained prior from the result of `describe_prior`."""
    arch = description["arch"]
    module = load_kind("vqpriors.priors", arch, param="prior.arch")
    rows, columns = description["grid"]
    return module.build(
        check(f"prior.{arch}", description["config"], module.Config),
        grid=(rows, columns),
        codebook_size=description["codebook_size"],
        text=TextShape(**description["text"]),
    )


def load_prior(folder: Path, device: torch.device, *, tokenizer: str, encoder: str) -> Any:
    """Load a trained prior for inference with the tokenizer and text encoder it was trained with.

    Args:
        folder: The prior's artifact.
        device: Device of its weights.
        tokenizer: Fingerprint of the tokenizer that will decode its codes.
        encoder: Fingerprint of the text encoder that will encode its captions.

    Raises:
        ValueError: If the folder is damaged, or the prior was trained with another tokenizer or
            text encoder.
    """
    model = load_model(folder)
    for part, found in {"tokenizer": tokenizer, "encoder": encoder}.items():
        if model.config[part] != found:
            raise ValueError(
                f"{folder}: was trained with {part} {model.config[part][:12]}, not with "
                f"{found[:12]}; train it again with `dvc repro train_prior`"
            )
    prior = build_prior(model.config)
    prior.load_state_dict(model.weights)
    return prior.eval().requires_grad_(False).to(device)
