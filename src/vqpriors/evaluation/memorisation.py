"""Memorisation: the distance of pictures to their nearest training images, 0 for copies.

Compare it with the same distance of test images: samples that are much closer to the training
images than unseen real pictures have been memorised.
"""

import numpy as np

from vqpriors.evaluation.base.inputs import Inputs

CHUNK_VALUES = 2**23
CHUNK_IMAGES = 1024


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the mean distance of drawn and of test pictures to the nearest training picture.

    Returns:
        "nearest_train_distance" and "nearest_train_distance_real"; see
        `nearest_training_distance`.
    """
    training = inputs.train.pixels
    return {
        "nearest_train_distance": nearest_training_distance(inputs.drawn, training),
        "nearest_train_distance_real": nearest_training_distance(inputs.real.pixels, training),
        "num_samples": len(inputs.drawn),
    }


def nearest_training_distance(images: np.ndarray, training: np.ndarray) -> float:
    """Return the mean distance of images to their nearest training images.

    Nearest neighbours are found with matrix products. Their distances are then computed from the
    pixels, so rounding errors of the products do not matter and a copy has a distance of exactly 0.

    Args:
        images: (M, C, H, W) uint8.
        training: (T, C, H, W) uint8.

    Returns:
        Root mean squared difference of the pixels, averaged over images; 0 to 1.

    Raises:
        ValueError: If there are no images, or their shapes differ.
    """
    if not len(images) or not len(training) or images.shape[1:] != training.shape[1:]:
        raise ValueError(f"expected images of one shape; got {images.shape} and {training.shape}")
    nearest = nearest_training_images(images, training)
    errors = [_error(i, training[n]) for i, n in zip(images, nearest, strict=True)]
    return float(np.mean(errors))


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
