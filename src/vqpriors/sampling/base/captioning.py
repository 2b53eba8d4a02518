"""Captions for pictures, by parallel decoding of a captioner's tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vqpriors.core.hardware import Precision, autocast_once
from vqpriors.core.params import Section
from vqpriors.sampling.base.sampler import Noise
from vqpriors.sampling.base.unmasking import Plan, unmask


class CaptionConfig(Section):
    """`sample.captions` of params.yaml.

    Attributes:
        num_pictures: Most pictures of the test split that get a caption.
        steps: Passes over a caption.
        temperature: Divides the logits; 0 takes the likeliest token.
    """

    num_pictures: int = Field(ge=1)
    steps: int = Field(ge=1)
    temperature: float = Field(ge=0)


@torch.inference_mode()
def write_captions(
    prior: Any,
    codes: np.ndarray,
    config: CaptionConfig,
    *,
    decode: Callable[[Tensor], Sequence[str]],
    batch_size: int,
    precision: Precision,
    seed: int,
) -> list[str]:
    """Write a caption for each picture, batch by batch.

    Args:
        prior: A trained `Captioner`, on its device.
        codes: (M, N) integers.
        config: How to decode.
        decode: Turns tokens into texts; a text encoder's method.
        batch_size: Pictures at a time.
        precision: Of the prior.
        seed: Start of the randomness; a picture's depends on it and on the picture's place.

    Returns:
        M captions.
    """
    device = next(prior.parameters()).device
    texts: list[str] = []
    for start in range(0, len(codes), batch_size):
        batch = torch.from_numpy(codes[start : start + batch_size].astype(np.int64)).to(device)
        noise = Noise(range(start, start + len(batch)), seed=seed, device=device)
        with autocast_once(prior, precision):
            tokens = draw_captions(
                prior, batch, steps=config.steps, temperature=config.temperature, noise=noise
            )
        texts += decode(tokens.cpu())
    return texts


def draw_captions(
    prior: Any, codes: Tensor, *, steps: int, temperature: float, noise: Noise
) -> Tensor:
    """Draw the tokens of captions, (B, L) int64, the surest first.

    Args:
        prior: A `Captioner`.
        codes: The pictures, (B, N) int64.
        steps: Passes over a caption.
        temperature: As `CaptionConfig`.
        noise: All the randomness there is.
    """
    state = prior.start_caption(codes)
    shape = (len(codes), prior.text_length)
    tokens = torch.full(shape, prior.text_mask_token, device=codes.device)

    def logits_at(tokens: Tensor, is_wanted: Tensor, _: int) -> Tensor:
        return prior.caption_logits(tokens, state, is_wanted).float()

    plan = Plan([temperature] * steps, [0.0] * steps, remask=0.0, ranks=None)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    return unmask(logits_at, tokens, everywhere, mask=prior.text_mask_token, plan=plan, noise=noise)
