"""R-precision: how often a picture's own caption is the best match of many."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vqpriors.evaluation.base.errors import standard_error
from vqpriors.evaluation.base.inputs import Inputs

CANDIDATES = 100


def measure(inputs: Inputs) -> dict[str, float]:
    """Return the R-precision of drawn pictures; {} unless the judge matches captions.

    The candidates are captions of the evaluated split.

    Returns:
        "r_precision" with its standard error "r_precision_se"; "r_precision_real", that of
        pictures of the evaluated split via the tokenizer; "r_precision_chance", that of a guess.
    """
    if inputs.judge is None or not inputs.judge.is_matcher:
        return {}
    pool = sorted(set(inputs.real.captions))
    captions = [prompt.caption for prompt in inputs.prompts]
    drawn = own_is_best(inputs.judge, inputs.judged_drawn.features, captions, pool, inputs.seed)
    real = own_is_best(
        inputs.judge,
        inputs.judged_reconstructions.features,
        inputs.real.captions,
        pool,
        inputs.seed,
    )
    return {
        "r_precision": float(drawn.mean()),
        "r_precision_se": standard_error(drawn, inputs.groups(inputs.prompts)),
        "r_precision_real": float(real.mean()),
        "r_precision_chance": 1 / min(CANDIDATES, len(pool)),
    }


@torch.inference_mode()
def own_is_best(
    judge: Any, features: np.ndarray, captions: Sequence[str], pool: Sequence[str], seed: int
) -> np.ndarray:
    """Return for which pictures the own caption is the best match of 100.

    The others are drawn at random from the distinct captions of a pool; fewer if it has fewer.

    Args:
        judge: A trained `Matcher`.
        features: Its features of M pictures, (M, F) float32.
        captions: The caption of each picture.
        pool: Distinct captions.
        seed: Seed of the choice of the other captions.

    Returns:
        (M,) bool; an equal match of another caption counts as a miss.

    Reference:
        Xu et al. 2018, AttnGAN, arXiv:1711.10485.
    """
    texts = list(dict.fromkeys([*captions, *pool]))
    index = {text: number for number, text in enumerate(texts)}
    in_pool = np.array([index[text] for text in pool])
    device = next(judge.parameters()).device
    scores = judge.match(torch.from_numpy(features).to(device), texts).cpu().numpy()  # (M, T)
    generator = np.random.default_rng(seed)
    found = np.empty(len(captions), dtype=bool)
    for row, caption in enumerate(captions):
        others = in_pool[in_pool != index[caption]]
        count = min(CANDIDATES - 1, len(others))
        chosen = generator.choice(others, count, replace=False)
        found[row] = (scores[row, index[caption]] > scores[row, chosen]).all()
    return found
