"""Rank-frequency distribution of codebook entries."""

import numpy as np
import pandas as pd

from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.tokenizer.base.codebook import ranked_shares


def table(inputs: Inputs) -> pd.DataFrame:
    """Return the shares of the codes of the evaluated split; see `codebook_table`."""
    return codebook_table(inputs.tokens.codes, codebook_size=inputs.spec.codebook_size)


def codebook_table(codes: np.ndarray, *, codebook_size: int) -> pd.DataFrame:
    """Return the share of each used code, the most frequent first.

    Unused codes are left out: a share of 0 cannot be drawn on a logarithmic axis.

    Args:
        codes: Codes of any shape, integers below the codebook size.
        codebook_size: Number of codes K.

    Returns:
        Columns "rank", from 1, and "share" of all codes.
    """
    shares = ranked_shares(codes, codebook_size=codebook_size)
    used = shares[shares > 0]
    return pd.DataFrame({"rank": np.arange(1, len(used) + 1), "share": used})
