"""Captions of pictures, by parallel decoding of a captioner's text tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.hardware import Precision, autocast_once
from vqpriors.core.params import Section
from vqpriors.priors.base.cells import Cells
from vqpriors.sampling.base.logits import split_rows
from vqpriors.sampling.base.sampler import PictureRandom
from vqpriors.sampling.base.unmasking import UnmaskingSchedule, unmask


class CaptionConfig(Section):
    """`sample.captions` of params.yaml.

    Attributes:
        num_pictures: Largest number of pictures of the evaluated split to caption.
        steps: Decoding steps of a caption.
        temperature: Divides the logits; 0 takes the likeliest token.
    """

    num_pictures: int = Field(ge=1)
    steps: int = Field(ge=1)
    temperature: float = Field(ge=0)


@torch.inference_mode()
def caption_codes(
    prior: Any,
    codes: np.ndarray,
    config: CaptionConfig,
    *,
    decode: Callable[[Tensor], Sequence[str]],
    batch_size: int,
    precision: Precision,
    seed: int,
) -> list[str]:
    """Caption pictures, given as codes, batch by batch.

    Args:
        prior: A trained `Captioner`, on its device.
        codes: (M, N) integers.
        config: Settings of the decoding.
        decode: Turns tokens into texts; a method of a text encoder.
        batch_size: Pictures in a batch.
        precision: Precision of the prior.
        seed: Seed of the run; a caption's numbers depend on it and on the picture's place.

    Returns:
        M captions.
    """
    device = next(prior.parameters()).device
    texts: list[str] = []
    for start in range(0, len(codes), batch_size):
        batch = torch.from_numpy(codes[start : start + batch_size].astype(np.int64)).to(device)
        random = PictureRandom(range(start, start + len(batch)), seed=seed, device=device)
        with autocast_once(prior, precision):
            tokens = sample_caption_tokens(
                prior, batch, steps=config.steps, temperature=config.temperature, random=random
            )
        texts += decode(tokens.cpu())
    return texts


def sample_caption_tokens(
    prior: Any, codes: Tensor, *, steps: int, temperature: float, random: PictureRandom
) -> Tensor:
    """Draw the tokens of captions, (B, L) int64, the most confident ones first.

    Args:
        prior: A `Captioner`.
        codes: The pictures, (B, N) int64.
        steps: Decoding steps.
        temperature: As in `CaptionConfig`.
        random: The only source of randomness.
    """
    state = prior.start_caption(codes)
    shape = (len(codes), prior.text_length)
    tokens = torch.full(shape, prior.text_mask_token, device=codes.device)

    def logits_at(tokens: Tensor, selected: Cells, _: int) -> Iterator[Tensor]:
        return (part for (part,) in split_rows(prior.caption_logits(tokens, state, selected)))

    return unmask(
        logits_at,
        tokens,
        torch.ones_like(tokens, dtype=torch.bool),
        mask_token=prior.text_mask_token,
        schedule=UnmaskingSchedule([temperature] * steps, [0.0] * steps, remask=0.0, ranks=None),
        random=random,
    )
