"""Pictures without their colours."""

import torch
from torch import Tensor


@torch.no_grad()
def colorless(images: Tensor) -> Tensor:
    """Take each picture's contrast and leave its colours, whichever they are.

    Projects its pixels on the direction in colour space in which they differ most, and scales them
    to mean 0 and variance 1. The rarer side is the brighter one, so that a red figure on white and
    a white one on black look alike.

    Args:
        images: (B, C, H, W) float.

    Returns:
        (B, 1, H, W) float32; about 0 where a picture has a single colour.
    """
    pixels = images.float().flatten(2)  # (B, C, HW)
    pixels = pixels - pixels.mean(dim=2, keepdim=True)
    with torch.autocast(images.device.type, enabled=False):
        covariances = pixels @ pixels.transpose(1, 2)  # (B, C, C)
        direction = torch.linalg.eigh(covariances).eigenvectors[:, None, :, -1]
        contrast = direction @ pixels  # (B, 1, HW)
    contrast = contrast * contrast.pow(3).sum(dim=2, keepdim=True).sign()
    deviation = contrast.pow(2).mean(dim=2, keepdim=True).sqrt()
    return (contrast / (deviation + 1e-3)).unflatten(2, images.shape[2:])
