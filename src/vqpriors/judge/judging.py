"""Loading a trained judge, and batched inference with it."""

from pathlib import Path

import numpy as np
import torch

from vqpriors.core.artifact import load_model
from vqpriors.data.pixels import to_unit_range
from vqpriors.judge.network import Judge, most_likely


def load_judge(folder: Path, device: torch.device) -> Judge | None:
    """Load a trained judge; None if the training images had no attributes.

    Raises:
        ValueError: If the folder is damaged.
    """
    model = load_model(folder)
    if not model.config["classes"]:
        return None
    judge = Judge(**model.config)
    judge.load_state_dict(model.weights)
    return judge.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def judge_pixels(
    judge: Judge, pixels: np.ndarray, *, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Compute features and predicted classes of pictures, on the judge's device.

    Args:
        judge: A trained judge; this puts it into evaluation mode.
        pixels: (M, C, H, W) uint8.
        batch_size: Pictures in a batch; affects memory only.

    Returns:
        Features, (M, F) float32, and the most likely class of each attribute, (M, A) int64.
    """
    judge.eval()
    device = next(judge.parameters()).device
    features, labels = [], []
    for chunk in torch.from_numpy(pixels).split(batch_size):
        batch_features = judge.features(to_unit_range(chunk.to(device)))
        features.append(batch_features.cpu())
        labels.append(most_likely(judge.logits(batch_features)).cpu())
    return torch.cat(features).numpy(), torch.cat(labels).numpy()
