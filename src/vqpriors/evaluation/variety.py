"""Variety: how much pictures of one caption differ from each other."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from vqpriors.evaluation.base.inputs import Inputs

MAX_PAIRS = 20_000


def measure(inputs: Inputs) -> dict[str, float]:
    """Return how much drawn pictures of equal captions differ.

    Returns:
        "variety": mean root mean squared difference of the pixels of two drawn pictures of one
        caption, 0 to 1; "distinct_grids": share of these pairs whose codes differ.
        "variety_real" and "distinct_grids_real": of pictures of the evaluated split via the
        tokenizer. A number without pairs of equal captions is left out.
    """
    captions = [prompt.caption for prompt in inputs.prompts]
    found = variety(captions, inputs.drawn, inputs.drawn_codes, seed=inputs.seed)
    if not found:
        inputs.leave_out(
            "variety", "needs several pictures of a caption; raise sample.num_per_prompt"
        )
        return {}
    real = variety(
        inputs.real.captions, inputs.reconstructions, inputs.tokens.codes, seed=inputs.seed
    )
    return found | {f"{name}_real": value for name, value in real.items()}


def variety(
    captions: Sequence[str], pixels: np.ndarray, codes: np.ndarray, *, seed: int
) -> dict[str, float]:
    """Return "variety" and "distinct_grids" of pictures; {} if no two captions are equal.

    Args:
        captions: M captions.
        pixels: (M, C, H, W) uint8.
        codes: (M, N) integers.
        seed: Seed of the choice of pairs, if there are more than 20,000.
    """
    rows: dict[str, list[int]] = {}
    for row, caption in enumerate(captions):
        rows.setdefault(caption, []).append(row)
    pairs = _pairs(list(rows.values()), np.random.default_rng(seed))
    if not len(pairs):
        return {}
    differences = [
        np.sqrt(((pixels[a].astype(np.float64) - pixels[b]) ** 2).mean()) / 255 for a, b in pairs
    ]
    are_distinct = (codes[pairs[:, 0]] != codes[pairs[:, 1]]).any(axis=1)
    return {"variety": float(np.mean(differences)), "distinct_grids": float(are_distinct.mean())}


def _pairs(groups: Sequence[Sequence[int]], generator: np.random.Generator) -> np.ndarray:
    """Return pairs of rows of one group, (P, 2) int64; as many of each group if they are many."""
    groups = [group for group in groups if len(group) > 1]
    limit = max(1, MAX_PAIRS // max(1, len(groups)))
    found: list[tuple[int, int]] = []
    for group in groups:
        if len(group) * (len(group) - 1) // 2 <= limit:
            found.extend(combinations(group, 2))
            continue
        for _ in range(limit):
            first, second = generator.choice(group, 2, replace=False)
            found.append((int(first), int(second)))
    return np.array(found, dtype=np.int64).reshape(-1, 2)
