"""Pixels as networks see them (float, -1..1) and as files hold them (uint8)."""

import numpy as np
import torch
from torch import Tensor


def to_unit_range(pixels: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 -1..1."""
    return pixels.float() / 127.5 - 1


def to_uint8(images: Tensor) -> np.ndarray:
    """Map float -1..1 to uint8 0..255 on the CPU, rounded, clamped."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).cpu().numpy()
