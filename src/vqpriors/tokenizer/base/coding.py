"""Pictures to codes and back, batch by batch."""

from typing import Any

import numpy as np
import torch

from vqpriors.core.hardware import Precision, autocast
from vqpriors.data.pixels import to_uint8, to_unit_range


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
