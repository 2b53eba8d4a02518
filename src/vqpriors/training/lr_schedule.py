"""Learning rate schedule: linear warm-up, then a cosine."""

import math


def lr_factor(step: int, *, total: int, warmup_steps: int, min_lr_ratio: float) -> float:
    """Return the learning rate at a step of a phase, as a fraction of the peak.

    Args:
        step: Updates made in the phase so far.
        total: Updates of the phase.
        warmup_steps: Updates of linear warm-up; at most half of the phase.
        min_lr_ratio: Fraction that the cosine ends at.
    """
    warmup = min(warmup_steps, total // 2)
    if step < warmup:
        return (step + 1) / warmup
    angle = math.pi * (step - warmup) / max(1, total - warmup)
    return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(angle))
