"""Memorisation: the distance of drawn pictures to their nearest training pictures.

All pictures are compared via the tokenizer: drawn ones are blurred by its decoder, so training
pictures must be, too. Where colours are attributes, pictures are compared without colour, since a
training picture in another colour would be a copy as well. Compare the distances with those of real
held-out pictures: samples that are much nearer have been memorised.
"""

import numpy as np
import torch

from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.judge.base.colorless import colorless

CHUNK_VALUES = 2**23
CHUNK_IMAGES = 1024
LOW_QUANTILE = 0.05
GRAY_LEVELS = 32.0  # of one standard deviation of a picture without colour


def measure(inputs: Inputs) -> dict[str, float]:
    """Return distances to the nearest training picture.

    Returns:
        Of drawn pictures: "nearest_train_distance", the mean, and "nearest_train_distance_low", the
        5% quantile; "nearest_train_distance_real" and "nearest_train_distance_low_real", the same
        of pictures of the evaluated split. "num_samples", the number of drawn pictures.
    """
    is_colorless = inputs.judge is not None and inputs.judge.is_colorless
    training, drawn, real = (
        without_color(pixels) if is_colorless else pixels
        for pixels in (inputs.train_reconstructions, inputs.drawn, inputs.reconstructions)
    )
    metrics: dict[str, float] = {}
    for end, pictures in (("", drawn), ("_real", real)):
        distances = nearest_training_distances(pictures, training)
        metrics[f"nearest_train_distance{end}"] = float(distances.mean())
        low = float(np.quantile(distances, LOW_QUANTILE))
        metrics[f"nearest_train_distance_low{end}"] = low
    return metrics | {"num_samples": len(inputs.drawn)}


def without_color(pixels: np.ndarray) -> np.ndarray:
    """Return pictures as their contrast without colour; see `colorless`.

    Args:
        pixels: (M, C, H, W) uint8.

    Returns:
        (M, 1, H, W) uint8: 128 at the mean, 32 levels for a standard deviation.
    """
    chunks = torch.from_numpy(pixels).split(CHUNK_IMAGES)
    contrasts = torch.cat([colorless(chunk.float()) for chunk in chunks])
    return (contrasts * GRAY_LEVELS + 128).round().clamp(0, 255).to(torch.uint8).numpy()


def nearest_training_distances(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return the distance of each image to its nearest training image.

    Nearest neighbours are found with matrix products. Their distances are then computed from the
    pixels, so rounding errors of the products do not matter and a copy has a distance of exactly 0.

    Args:
        images: (M, C, H, W) uint8.
        training: (T, C, H, W) uint8.

    Returns:
        Root mean squared difference of the pixels, 0 to 1; (M,) float64.

    Raises:
        ValueError: If there are no images, or their shapes differ.
    """
    if not len(images) or not len(training) or images.shape[1:] != training.shape[1:]:
        raise ValueError(f"expected images of one shape; got {images.shape} and {training.shape}")
    nearest = nearest_training_images(images, training)
    return np.array([_error(i, training[n]) for i, n in zip(images, nearest, strict=True)])


def nearest_training_images(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return the nearest training image of each image, by Euclidean distance of the pixels.

    Args:
        images: (M, C, H, W) uint8.
        training: (T, C, H, W) uint8; T at least 1.

    Returns:
        Row of `training` for each image; (M,) int64.
    """
    return np.concatenate(
        [
            _nearest(_centred(images[start : start + CHUNK_IMAGES]), training)
            for start in range(0, len(images), CHUNK_IMAGES)
        ]
    )


def _nearest(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    smallest = np.full(len(images), np.inf, dtype=np.float32)
    nearest = np.zeros(len(images), dtype=np.int64)
    num_rows = max(1, CHUNK_VALUES // images.shape[1])
    for start in range(0, len(training), num_rows):
        chunk = _centred(training[start : start + num_rows])
        # Squared distance without the image's own norm, which is the same for all rows.
        scores = (chunk**2).sum(axis=1) - 2 * (images @ chunk.T)  # (M, rows)
        rows = scores.argmin(axis=1)
        best = scores[np.arange(len(images)), rows]
        nearest = np.where(best < smallest, start + rows, nearest)
        smallest = np.minimum(best, smallest)
    return nearest


def _centred(images: np.ndarray) -> np.ndarray:
    # Centred at 0, so that the products of a 28 px picture are integers exact in float32.
    return images.reshape(len(images), -1).astype(np.float32) - 128


def _error(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((image.astype(np.float64) - other) ** 2).mean()) / 255)
