"""Batched inference with a judge."""

from typing import Any, NamedTuple

import numpy as np
import torch

from vqpriors.data.pixels import to_unit_range


class Judged(NamedTuple):
    """What a judge computes of M pictures.

    Attributes:
        features: (M, F) float32, for distances between sets of pictures.
        shape_features: The features that do not depend on colour attributes, (M, S) float32.
        labels: The most likely class of each attribute, (M, A) int64; A is 0 without attributes.
    """

    features: np.ndarray
    shape_features: np.ndarray
    labels: np.ndarray


@torch.inference_mode()
def judge_pixels(judge: Any, pixels: np.ndarray, *, batch_size: int = 256) -> Judged:
    """Compute features and predicted classes of pictures, on the judge's device.

    Args:
        judge: A trained `Judge`; this puts it into evaluation mode.
        pixels: (M, C, H, W) uint8.
        batch_size: Pictures in a batch; affects memory only.
    """
    judge.eval()
    device = next(judge.parameters()).device
    features, labels = [], []
    for chunk in torch.from_numpy(pixels).split(batch_size):
        batch_features = judge.features(to_unit_range(chunk.to(device)))
        features.append(batch_features.cpu())
        labels.append(judge.predict(batch_features).cpu())
    found = torch.cat(features).numpy()
    return Judged(found, found[:, : judge.num_shape_features], torch.cat(labels).numpy())
