"""How much of its codebook a tokenizer uses, over a whole split.

The same numbers of one batch depend on the batch's size, so all codes are counted first.
"""

import numpy as np


def usage(codes: np.ndarray, *, codebook_size: int) -> float:
    """Return the share of the codebook that occurs at least once.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        0 to 1.

    Raises:
        ValueError: If there is no code, or one is out of range.
    """
    return float((_histogram(codes, codebook_size) > 0).mean())


def perplexity(codes: np.ndarray, *, codebook_size: int) -> float:
    """Return exp(entropy) of how often each code occurs: as many evenly used codes would do.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        1, where a single code occurs, to K, where all occur equally often.

    Raises:
        ValueError: If there is no code, or one is out of range.
    """
    counts = _histogram(codes, codebook_size)
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def ranked_shares(codes: np.ndarray, *, codebook_size: int) -> np.ndarray:
    """Return which share of all codes each entry of the codebook has, the most frequent first.

    Args:
        codes: Codes of any shape, integers from 0 to K - 1.
        codebook_size: K.

    Returns:
        (K,) float64, descending, of sum 1; 0 for codes that never occur.

    Raises:
        ValueError: If there is no code, or one is out of range.
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
