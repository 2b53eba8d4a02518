"""How near pictures lie to the training images: 0 for copies.

Stand it beside the same number of the test images: samples much nearer than real unseen pictures
have been learned by heart.
"""

import numpy as np

CHUNK_VALUES = 2**23
CHUNK_IMAGES = 1024


def nearest_training_distance(images: np.ndarray, training: np.ndarray) -> float:
    """Average over images the distance to the nearest training image.

    The nearest are found by matrix products of bounded chunks; their distances are then taken
    directly, so a copy gives exactly 0 for all rounding of the products.

    Args:
        images: (M, C, H, W) uint8.
        training: (T, C, H, W) uint8.

    Returns:
        Mean over images of the root mean squared difference of pixels, 0 to 1.

    Raises:
        ValueError: If either has no image, or the images' shapes differ.
    """
    if not len(images) or not len(training) or images.shape[1:] != training.shape[1:]:
        raise ValueError(
            f"expected images, all of one shape; got {images.shape} and {training.shape}"
        )
    nearest = nearest_training_images(images, training)
    errors = [_error(i, training[n]) for i, n in zip(images, nearest, strict=True)]
    return float(np.mean(errors))


def nearest_training_images(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Find the nearest training image of each image, to show them side by side.

    Args:
        images: (M, C, H, W) uint8.
        training: (T, C, H, W) uint8; T at least 1.

    Returns:
        Row in `training` of each image's nearest; (M,) int64.
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
        # The image's own norm shifts all its distances alike.
        scores = (chunk**2).sum(axis=1) - 2 * (images @ chunk.T)  # (M, rows)
        rows = scores.argmin(axis=1)
        best = scores[np.arange(len(images)), rows]
        nearest = np.where(best < smallest, start + rows, nearest)
        smallest = np.minimum(best, smallest)
    return nearest


def _centred(images: np.ndarray) -> np.ndarray:
    # Around 0 the products of a 28 px picture are whole numbers that float32 holds exactly.
    return images.reshape(len(images), -1).astype(np.float32) - 128


def _error(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(((image.astype(np.float64) - other) ** 2).mean()) / 255)
