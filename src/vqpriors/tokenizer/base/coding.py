"""Encoding of pictures and decoding of codes in batches."""

from typing import Any

import numpy as np
import torch

from vqpriors.core.hardware import Precision, autocast
from vqpriors.data.pixels import to_uint8, to_unit_range


@torch.inference_mode()
def encode_pixels(
    tokenizer: Any, pixels: np.ndarray, *, batch_size: int, precision: Precision
) -> np.ndarray:
    """Encode pictures in batches.

    Args:
        tokenizer: A `Tokenizer` in evaluation mode.
        pixels: (M, C, H, W) uint8.
        batch_size: Pictures per batch.
        precision: Precision of the network; the quantizer always computes in float32.

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
    """Decode codes to pictures in batches.

    Args:
        tokenizer: A `Tokenizer` in evaluation mode.
        codes: (M, N) integers, raster order.
        batch_size: Pictures per batch.
        precision: Precision of the network.

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
