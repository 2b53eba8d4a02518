"""The contract of a tokenizer: pictures to a grid of codes and back.

A tokenizer module exports `Config` (a `Section`) and
`build(config, *, image_size, channels, quantizer) -> Tokenizer`. If its network comes from
elsewhere, the tokenizer tells of it in `adopted` (JSON values), and the module also exports
`restore(config, *, adopted, image_size, channels)`, which builds it again without that source.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vqpriors.artifact import load_model
from vqpriors.hardware import Precision, autocast
from vqpriors.params import Section, check
from vqpriors.pixels import to_uint8, to_unit_range
from vqpriors.plugins import load_kind
from vqpriors.tokens import TokenSpec


class Tokenizer(Protocol):
    """A trainable module between pictures in -1..1 and codes in raster order."""

    rows: int
    columns: int
    num_codes: int

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return named scalar losses of `batch["images"]`, (B, C, H, W) float in -1..1."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float, of (B, N) int64 codes."""
        ...

    def codebook(self) -> Tensor:
        """Return the vectors that codes stand for, (K, V) float32."""
        ...


def describe(
    *, arch: str, config: Section, quantizer: str, quantizer_config: Section, **shape: int
) -> dict[str, Any]:
    """Return the config that a tokenizer's artifact keeps, from which `load` builds it again."""
    return {
        "arch": arch,
        "config": config.model_dump(),
        "quantizer": quantizer,
        "quantizer_config": quantizer_config.model_dump(),
        **shape,
    }


def complete(description: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Add to a description what the tokenizer has adopted from elsewhere, if it has."""
    adopted = getattr(tokenizer, "adopted", None)
    return description if adopted is None else {**description, "adopted": adopted}


def build(description: dict[str, Any]) -> Any:
    """Build a tokenizer from what `describe` or `complete` returned.

    It is untrained; but one that is adopted, as only `describe` knows it, has its weights.
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


def load(folder: Path, device: torch.device) -> tuple[Any, TokenSpec]:
    """Load a trained tokenizer for inference, and what its codes mean.

    Raises:
        ValueError: If the folder is damaged.
    """
    model = load_model(folder)
    tokenizer = build(model.config)
    tokenizer.load_state_dict(model.weights)
    tokenizer.eval().requires_grad_(False).to(device)
    spec = TokenSpec(tokenizer.rows, tokenizer.columns, tokenizer.num_codes, model.fingerprint)
    return tokenizer, spec


@torch.inference_mode()
def encode_pixels(
    tokenizer: Any, pixels: np.ndarray, *, batch_size: int, precision: Precision
) -> np.ndarray:
    """Encode pictures batch by batch.

    Args:
        tokenizer: A `Tokenizer` for inference.
        pixels: (M, C, H, W) uint8.
        batch_size: Pictures at a time.
        precision: Of the network; the quantizer computes in float32.

    Returns:
        (M, N) uint16 codes, raster order.
    """
    device = next(tokenizer.parameters()).device
    batches = []
    for chunk in torch.from_numpy(pixels).split(batch_size):
        with autocast(precision, device):
            codes = tokenizer.encode(to_unit_range(chunk.to(device)))
        batches.append(codes.cpu().numpy().astype(np.uint16))
    return np.concatenate(batches)


@torch.inference_mode()
def decode_codes(
    tokenizer: Any, codes: np.ndarray, *, batch_size: int, precision: Precision
) -> np.ndarray:
    """Decode codes to pictures batch by batch; the inverse of `encode_pixels`.

    Args:
        tokenizer: A `Tokenizer` for inference.
        codes: (M, N) integers.
        batch_size: Pictures at a time.
        precision: Of the network.

    Returns:
        (M, C, H, W) uint8.
    """
    device = next(tokenizer.parameters()).device
    batches = []
    for chunk in torch.from_numpy(codes.astype(np.int64)).split(batch_size):
        with autocast(precision, device):
            images = tokenizer.decode(chunk.to(device))
        batches.append(to_uint8(images))
    return np.concatenate(batches)
