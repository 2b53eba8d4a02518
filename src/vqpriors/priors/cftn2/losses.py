"""The losses of each training task of CFTN v2, and the numbers of targets they are means over.

A task may have no example in a part of a batch; its losses are then 0, with gradients.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masking import masked_cross_entropy
from vqpriors.priors.base.prior import Batch, text_of
from vqpriors.priors.cftn2.latent import standard_normal
from vqpriors.priors.cftn2.tasks import Draws, caption_cells, code_cells
from vqpriors.priors.cftn2.towers import forward_joint

if TYPE_CHECKING:
    from vqpriors.priors.cftn2.model import CFTN2

Scalars = dict[str, Tensor]


class Task(NamedTuple):
    """A training task.

    Attributes:
        losses: Returns its losses and its metrics, given the prior, examples and their draws.
        num_targets: Returns, for the same arguments, the number of targets of each.
    """

    losses: Callable[["CFTN2", Batch, Draws], tuple[Scalars, Scalars]]
    num_targets: Callable[["CFTN2", Batch, Draws], Scalars]


def code_losses(prior: "CFTN2", batch: Batch, draws: Draws) -> tuple[Scalars, Scalars]:
    """Return "masked_nats", at masked codes given the caption, and "visual_accuracy"."""
    codes, cells = batch["codes"], _code_cells(prior, draws)
    tokens = codes.masked_fill(cells.mask, prior.mask_token)
    logits = prior.logits(tokens, prior.start(text_of(batch)), cells)
    loss, accuracy = _cross_entropy(prior, logits, cells.take(codes))
    return {"masked_nats": loss}, {"visual_accuracy": accuracy}


def _code_targets(prior: "CFTN2", batch: Batch, draws: Draws) -> Scalars:
    count = _code_cells(prior, draws).mask.sum()
    return dict.fromkeys(("masked_nats", "visual_accuracy"), count)


def caption_losses(prior: "CFTN2", batch: Batch, draws: Draws) -> tuple[Scalars, Scalars]:
    """Return "caption_nats", at masked tokens given the picture, and "caption_accuracy"."""
    targets, cells = batch["text_tokens"], _caption_cells(prior, batch, draws)
    tokens = targets.masked_fill(cells.mask, prior.text_mask_token)
    logits = prior.caption_logits(tokens, prior.start_caption(batch["codes"]), cells)
    loss, accuracy = _cross_entropy(prior, logits, cells.take(targets))
    return {"caption_nats": loss}, {"caption_accuracy": accuracy}


def _caption_targets(prior: "CFTN2", batch: Batch, draws: Draws) -> Scalars:
    count = _caption_cells(prior, batch, draws).mask.sum()
    return dict.fromkeys(("caption_nats", "caption_accuracy"), count)


def joint_losses(prior: "CFTN2", batch: Batch, draws: Draws) -> tuple[Scalars, Scalars]:
    """Return "joint_code_nats" and "joint_caption_nats", each given what is left of the two."""
    codes, cells = batch["codes"], _code_cells(prior, draws)
    tokens, token_cells = batch["text_tokens"], _caption_cells(prior, batch, draws)
    image = prior.image.embed(codes.masked_fill(cells.mask, prior.mask_token))
    words = prior.text.embed(tokens.masked_fill(token_cells.mask, prior.text_mask_token))
    towers, bridges = (prior.image, prior.text), (prior.to_image, prior.to_text)
    image, words = forward_joint(towers, (image, words), bridges)
    code_loss, _ = _cross_entropy(prior, prior.image.predict(image, cells), cells.take(codes))
    logits = prior.text.predict(words, token_cells)
    text_loss, _ = _cross_entropy(prior, logits, token_cells.take(tokens))
    return {"joint_code_nats": code_loss, "joint_caption_nats": text_loss}, {}


def _joint_targets(prior: "CFTN2", batch: Batch, draws: Draws) -> Scalars:
    return {
        "joint_code_nats": _code_cells(prior, draws).mask.sum(),
        "joint_caption_nats": _caption_cells(prior, batch, draws).mask.sum(),
    }


def one_step_losses(prior: "CFTN2", batch: Batch, draws: Draws) -> tuple[Scalars, Scalars]:
    """Return "one_step_nats" and "latent_nats", see `CFTN2.losses`, and two metrics.

    Returns:
        The metrics are "one_step_accuracy" and "latent_kl": an estimate of the KL divergence of the
        latent's posterior from its prior, nats per picture. The loss "latent_nats" is per code, and
        at least `free_nats` for each picture (Kingma et al. 2016, arXiv:1606.04934, free bits).
    """
    codes, text = batch["codes"], text_of(batch)
    cells = Cells.everywhere(codes)
    posterior = prior.latent.encode(prior.image.embed(codes), rope=prior.image.rope)
    latent = posterior.rsample(standard_normal(draws.latent))
    states = prior.text_states(text)
    divergence = prior.latent.flow.nll(latent, states[-1], text.text_mask) - posterior.entropy()
    tokens = torch.full_like(codes, prior.mask_token)
    logits = prior.logits(tokens, prior.drawing_state(states, text, latent), cells)
    loss, accuracy = _cross_entropy(prior, logits, codes.flatten())
    # Single estimates may be negative, so that a minimum of 0 would be a cost.
    cost = divergence.clamp(min=prior.free_nats) if prior.free_nats else divergence
    per_code = cost.sum() / max(1, codes.numel())
    latent_kl = divergence.detach().sum() / max(1, len(codes))
    metrics = {"one_step_accuracy": accuracy, "latent_kl": latent_kl}
    return {"one_step_nats": loss, "latent_nats": per_code}, metrics


def _one_step_targets(prior: "CFTN2", batch: Batch, draws: Draws) -> Scalars:
    codes = batch["codes"]
    num_codes, num_pictures = (codes.new_full((), n) for n in (codes.numel(), len(codes)))
    names = ("one_step_nats", "latent_nats", "one_step_accuracy")
    return dict.fromkeys(names, num_codes) | {"latent_kl": num_pictures}


def _code_cells(prior: "CFTN2", draws: Draws) -> Cells:
    return code_cells(draws, prior.mask_schedule, full_mask_prob=prior.full_mask_prob)


def _caption_cells(prior: "CFTN2", batch: Batch, draws: Draws) -> Cells:
    prob, is_empty = prior.full_caption_mask_prob, batch["text_is_empty"]
    return caption_cells(draws, prior.mask_schedule, full_mask_prob=prob, is_empty=is_empty)


def _cross_entropy(prior: "CFTN2", logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    smoothing = prior.label_smoothing if prior.training else 0.0
    return masked_cross_entropy(logits, targets, smoothing=smoothing)


TASKS = {
    "generate": Task(code_losses, _code_targets),
    "caption": Task(caption_losses, _caption_targets),
    "joint": Task(joint_losses, _joint_targets),
    "latent": Task(one_step_losses, _one_step_targets),
}
