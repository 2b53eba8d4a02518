"""Training tasks of CFTN v2: their shares of each batch, and their random masks."""

from dataclasses import dataclass

from torch import Tensor

from vqpriors.priors.base.cells import Cells
from vqpriors.priors.base.masking import MaskSchedule, lowest_k_cells, mask_counts, mask_ratio
from vqpriors.priors.base.prior import Batch


@dataclass(frozen=True)
class Draws:
    """The randomness of a batch, one row per example; (B, ...) float, uniform in 0..1.

    Attributes:
        ratio: Mask ratios of the picture and the caption, (B, 2); on the CPU, see `ON_CPU`.
        full_mask: Draws that decide whether the whole picture and caption are masked, (B, 2); on
            the CPU, too.
        latent: Noise of the latent, (B, latent_width).
        codes: Keys that order the codes for masking, (B, N).
        text: Keys that order the caption's tokens for masking, (B, L).
    """

    ratio: Tensor
    full_mask: Tensor
    latent: Tensor
    codes: Tensor
    text: Tensor


def draw_sizes(*, latent_width: int, length: int, text_length: int) -> tuple[int, ...]:
    """Return the number of draws per example for each field of `Draws`."""
    return 2, 2, latent_width, length, text_length


def code_cells(draws: Draws, schedule: MaskSchedule, *, full_mask_prob: float) -> Cells:
    """Return the codes to predict, at least one in a row of (B, N).

    Args:
        draws: The randomness.
        schedule: Distribution of the mask ratio.
        full_mask_prob: Probability of masking the whole picture.
    """
    is_full = draws.full_mask[:, 0] < full_mask_prob
    ratio = mask_ratio(draws.ratio[:, 0], schedule).masked_fill(is_full, 1.0)
    counts = mask_counts(ratio, draws.codes.shape[1])
    return lowest_k_cells(draws.codes, counts)


def caption_cells(
    draws: Draws,
    schedule: MaskSchedule,
    *,
    full_mask_prob: float,
    is_empty: Tensor,
) -> Cells:
    """Return the caption tokens to predict, of (B, L); none of empty captions.

    Args:
        draws: The randomness.
        schedule: Distribution of the mask ratio.
        full_mask_prob: Probability of masking the whole caption.
        is_empty: Captions that are empty or dropped, (B,) bool; they are not targets.
    """
    is_full = draws.full_mask[:, 1] < full_mask_prob
    ratio = mask_ratio(draws.ratio[:, 1], schedule).masked_fill(is_full, 1.0)
    counts = mask_counts(ratio, draws.text.shape[1]).masked_fill(is_empty, 0)
    return lowest_k_cells(draws.text, counts)


def task_shares(*, caption: float, joint: float, latent: float) -> dict[str, float]:
    """Return each task's share of a batch; "generate" gets the rest.

    Raises:
        ValueError: If a share is negative, or their sum exceeds 1.
    """
    shares = {"caption": caption, "joint": joint, "latent": latent}
    rest = 1 - sum(shares.values())
    if min(*shares.values(), rest + 1e-6) < 0:
        raise ValueError(
            "prior.cftn2.phases: shares must be at least 0 and add up to at most 1, "
            f"got {shares}; change `options` in params.yaml"
        )
    return shares | {"generate": rest if rest > 1e-6 else 0.0}


def split_batch(batch: Batch, shares: dict[str, float], *, is_training: bool) -> dict[str, slice]:
    """Return the rows of each task that has a share: all of them in evaluation.

    The tasks divide the whole batch, so that it does not matter how it is cut into parts; in a part
    of it a task may have no row.

    Args:
        batch: A part of a batch: "place", the rows' consecutive places in the whole, and
            "batch_size", its size; (B,) int64 each.
        shares: Each task's share of the whole batch.
        is_training: Whether to divide the batch.

    Raises:
        ValueError: If a training batch has fewer examples than there are tasks.
    """
    active = [name for name, share in shares.items() if share > 0]
    if not is_training:
        return dict.fromkeys(active, slice(None))
    start, count = int(batch["place"][0]), len(batch["place"])
    rows = _divide(int(batch["batch_size"][0]), {name: shares[name] for name in active})
    return {
        name: slice(*(min(max(end - start, 0), count) for end in ends))
        for name, ends in rows.items()
    }


def _divide(batch_size: int, active: dict[str, float]) -> dict[str, tuple[int, int]]:
    if batch_size < len(active):
        raise ValueError(
            f"prior.train.batch_size: must be at least {len(active)}, one example for each "
            f"training task of cftn2, got {batch_size}; raise it in params.yaml"
        )
    rows, start, total = {}, 0, 0.0
    for number, (name, share) in enumerate(active.items(), start=1):
        total += share
        end = round(total * batch_size)
        end = min(max(end, start + 1), batch_size - len(active) + number)  # at least one each
        rows[name], start = (start, end), end
    return rows
