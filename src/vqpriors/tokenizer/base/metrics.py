"""Quality metrics of a tokenizer: reconstruction and codebook usage."""

import numpy as np

from vqpriors.tokenizer.base.codebook import perplexity, usage
from vqpriors.tokenizer.base.reconstruction import psnr, ssim

COLLAPSED = 0.5  # codebook usage below which the codebook counts as collapsed


def measure_tokenization(
    originals: np.ndarray, reconstructions: np.ndarray, codes: np.ndarray, *, codebook_size: int
) -> dict[str, float]:
    """Compute the reconstruction and codebook metrics of a split.

    Args:
        originals: (M, C, H, W) uint8.
        reconstructions: Same shape and dtype as `originals`.
        codes: (M, N) integers below the codebook size.
        codebook_size: Number of codes K.

    Returns:
        "psnr" in dB, "ssim", "codebook_usage" in 0..1 and "codebook_perplexity" in 1..K.
    """
    return {
        "psnr": psnr(originals, reconstructions),
        "ssim": ssim(originals, reconstructions),
        "codebook_usage": usage(codes, codebook_size=codebook_size),
        "codebook_perplexity": perplexity(codes, codebook_size=codebook_size),
    }


def collapse_warning(quality: dict[str, float], *, codebook_size: int, fix: str) -> str | None:
    """Return a warning with remedies if the codebook has collapsed, otherwise None.

    Args:
        quality: Metrics of `measure_tokenization`.
        codebook_size: Number of codes K.
        fix: What helps for this tokenizer: `COLLAPSE_FIX` of its module or its quantizer's.
    """
    share = quality["codebook_usage"]
    if share >= COLLAPSED:
        return None
    return f"the codebook has collapsed: {share:.0%} of {codebook_size:,} codes are in use; {fix}"
