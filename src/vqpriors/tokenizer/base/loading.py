"""Descriptions from which tokenizers are built, as JSON; loading a saved one for inference."""

from pathlib import Path
from typing import Any

import torch

from vqpriors.core.artifact import load_model
from vqpriors.core.params import Section, check
from vqpriors.core.registry import load_kind
from vqpriors.data.token_spec import TokenSpec
from vqpriors.tokenizer.base.tokenizer import Tokenizer


def describe_tokenizer(
    *, arch: str, config: Section, quantizer: str, quantizer_config: Section, **images: Any
) -> dict[str, Any]:
    """Return the description of a tokenizer, which is saved with it; JSON values.

    Args:
        arch: The kind of tokenizer.
        config: Its params.
        quantizer: The kind of quantizer.
        quantizer_config: The quantizer's params.
        images: `image_size` in pixels and `channels`; how pictures were made so, for those that
            are given to the trained model: `resize` and `background` of `ImageConfig`.
    """
    return {
        "arch": arch,
        "config": config.model_dump(),
        "quantizer": quantizer,
        "quantizer_config": quantizer_config.model_dump(),
        **images,
    }


def complete_description(description: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Add the network's config of a pretrained tokenizer to its description, as "adopted"."""
    adopted = getattr(tokenizer, "adopted", None)
    return description if adopted is None else {**description, "adopted": adopted}


def build_tokenizer(description: dict[str, Any]) -> Any:
    """Build a tokenizer from its description.

    From a description of `describe_tokenizer`, a pretrained tokenizer is fetched with its weights.
    From one with "adopted", see `complete_description`, it is built with random weights and nothing
    is fetched.
    """
    quantizer = load_kind(
        "vqpriors.quantizers", description["quantizer"], param="tokenizer.quantizer"
    )
    arch = load_kind("vqpriors.tokenizer", description["arch"], param="tokenizer.arch")
    name = description["quantizer"]
    config = check(f"tokenizer.{description['arch']}", description["config"], arch.Config)
    shape = {key: description[key] for key in ("image_size", "channels")}
    if "adopted" in description:
        return arch.restore(config, adopted=description["adopted"], **shape)
    return arch.build(
        config,
        **shape,
        quantizer=quantizer.build(
            check(f"tokenizer.{name}", description["quantizer_config"], quantizer.Config)
        ),
    )


def load_tokenizer(folder: Path, device: torch.device) -> tuple[Any, TokenSpec]:
    """Load a trained tokenizer in evaluation mode, with the grid and codebook of its codes.

    Raises:
        ValueError: If the folder is damaged.
    """
    model = load_model(folder)
    tokenizer = build_tokenizer(model.config)
    tokenizer.load_state_dict(model.weights)
    tokenizer.eval().requires_grad_(False).to(device)
    spec = TokenSpec(tokenizer.rows, tokenizer.columns, tokenizer.num_codes, model.fingerprint)
    return tokenizer, spec
