"""Codebook usage and perplexity over a whole split.

Averages over batches would depend on the batch size, so all codes are counted first.
"""

import numpy as np


def usage(codes: np.ndarray, *, codebook_size: int) -> float:
    """Return the share of codes that occur at least once.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        0 to 1.

    Raises:
        ValueError: If there are no codes, or one is out of range.
    """
    return float((_histogram(codes, codebook_size) > 0).mean())


def perplexity(codes: np.ndarray, *, codebook_size: int) -> float:
    """Return the perplexity of the code distribution: the exponential of its entropy.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        1 if a single code occurs, up to K if all codes are equally frequent.

    Raises:
        ValueError: If there are no codes, or one is out of range.
    """
    counts = _histogram(codes, codebook_size)
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def ranked_shares(codes: np.ndarray, *, codebook_size: int) -> np.ndarray:
    """Return the relative frequencies of the codes, the most frequent first.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        (K,) float64, descending, sum 1; 0 for codes that never occur.

    Raises:
        ValueError: If there are no codes, or one is out of range.
    """
    counts = _histogram(codes, codebook_size)
    return np.sort(counts)[::-1] / counts.sum()


def _histogram(codes: np.ndarray, codebook_size: int) -> np.ndarray:
    if codes.size == 0:
        raise ValueError("expected at least one code; got none")
    if codes.min() < 0 or codes.max() >= codebook_size:
        raise ValueError(
            f"codes must lie in 0..{codebook_size - 1}; got {codes.min()}..{codes.max()}"
        )
    return np.bincount(codes.reshape(-1), minlength=codebook_size)
