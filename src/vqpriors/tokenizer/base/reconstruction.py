"""Peak signal-to-noise ratio and structural similarity of reconstructions.

Both are computed per picture and averaged over pictures, so they depend on neither the batch size
nor the order. Pictures are compared as uint8, 0 to 255, as they are saved.
"""

import numpy as np
import torch

MAX_PSNR = 100.0
SSIM_WINDOW = 11  # pixels, edge of its Gaussian window


def psnr(originals: np.ndarray, reconstructions: np.ndarray, *, batch_size: int = 256) -> float:
    """Return the mean peak signal-to-noise ratio (PSNR) over pictures.

    A picture's PSNR is 10 log10(255^2 / MSE), with the MSE over all its pixels and channels. It is
    capped at 100 dB, since equal pictures would give infinity, which JSON can't represent. Up to
    128 px, all other pictures are below the cap: one pixel off by one level gives 95 dB there.

    Args:
        originals: (M, C, H, W) uint8.
        reconstructions: Same shape and dtype as `originals`.
        batch_size: Pictures per batch; affects memory only.

    Returns:
        Mean over pictures, dB.

    Raises:
        ValueError: If the two differ in shape or dtype, or are empty.
    """
    _check(originals, reconstructions)
    ratios = []
    for start in range(0, len(originals), batch_size):
        rows = slice(start, start + batch_size)
        difference = originals[rows].astype(np.float64) - reconstructions[rows]
        errors = (difference**2).mean(axis=(1, 2, 3))
        smallest = 255.0**2 / 10 ** (MAX_PSNR / 10)
        ratios.append(10 * np.log10(255.0**2 / np.maximum(errors, smallest)))
    return float(np.concatenate(ratios).mean())


def ssim(originals: np.ndarray, reconstructions: np.ndarray, *, batch_size: int = 256) -> float:
    """Return the mean structural similarity (SSIM) over pictures.

    A picture's SSIM is the mean over its channels and pixels. It uses an 11x11 Gaussian window
    (sigma 1.5) around each pixel, reflection at the edges, and the paper's constants 0.01 and 0.03.

    Args:
        originals: (M, C, H, W) uint8, H and W at least 11.
        reconstructions: Same shape and dtype as `originals`.
        batch_size: Pictures per batch; affects memory only.

    Returns:
        Mean over pictures, -1 to 1; 1 if all are equal.

    Raises:
        ValueError: If the two differ in shape or dtype, are empty, or are smaller than 11 px.

    Reference:
        Wang et al. 2004, Image quality assessment: from error visibility to structural similarity.
    """
    _check(originals, reconstructions)
    if min(originals.shape[2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {SSIM_WINDOW} px; got shape {originals.shape}"
        )
    values = []
    for start in range(0, len(originals), batch_size):
        rows = slice(start, start + batch_size)
        values.append(_ssim_of_batch(originals[rows], reconstructions[rows]))
    return float(torch.cat(values).double().mean())


def _ssim_of_batch(originals: np.ndarray, reconstructions: np.ndarray) -> torch.Tensor:
    # scikit-image's function rounds differently, which would move published digits.
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = (torch.from_numpy(p).float() / 255 for p in (reconstructions, originals))
    values = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    assert isinstance(values, torch.Tensor)
    return values.reshape(-1)  # (B,)


def _check(originals: np.ndarray, reconstructions: np.ndarray) -> None:
    for pixels in (originals, reconstructions):
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) == 0:
            raise ValueError(
                f"expected (M, C, H, W) uint8 with M at least 1; got {pixels.shape} {pixels.dtype}"
            )
    if originals.shape != reconstructions.shape:
        raise ValueError(
            "expected pictures of the same shape; "
            f"got {originals.shape} and {reconstructions.shape}"
        )
