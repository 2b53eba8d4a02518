"""Colour invariance: pictures as their first principal component in colour space."""

import torch
from torch import Tensor


@torch.no_grad()
def colorless(images: Tensor) -> Tensor:
    """Project each picture's pixels on their first principal component in colour space.

    The result is scaled to mean 0 and variance 1, with the sign that makes its skewness positive:
    the smaller part of a picture, the figure, is bright. A red figure on white and a white figure
    on black therefore become nearly equal.

    Args:
        images: (B, C, H, W) float.

    Returns:
        (B, 1, H, W) float32; about 0 for a picture of a single colour.
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
