"""Limits of a generator's call, and an example prompt; imports nothing slow."""

from collections.abc import Sequence

EXAMPLE_PROMPT = "a small red seven on a white background"
MAX_PROMPT_LENGTH = 2000  # characters
MAX_PICTURES = 1024  # drawn in a call
MAX_STEPS = 1024  # decoding steps
MAX_PIXELS = 2**26  # of a given picture


def require_options(
    *, steps: int | None, temperature: float | None, guidance: float | None, seed: int
) -> None:
    """Raise a ValueError that names a sampling option that is out of range; None is in range."""
    if steps is not None and not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps: must be 1 to {MAX_STEPS}, got {steps}")
    for name, value in (("temperature", temperature), ("guidance", guidance)):
        if value is not None and not 0 <= value <= 100:
            raise ValueError(f"{name}: must be 0 to 100, got {value}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: must be 0 to 2^63 - 1, got {seed}")


def require_prompts(prompts: Sequence[str], num_samples: int) -> None:
    """Raise a ValueError if a prompt is too long, or they give no pictures or too many."""
    if not prompts:
        raise ValueError("prompt: none given; give at least one, or an empty text")
    if num_samples < 1 or not 1 <= len(prompts) * num_samples <= MAX_PICTURES:
        raise ValueError(
            f"num_samples: must give 1 to {MAX_PICTURES:,} pictures in all, got {num_samples} of "
            f"{len(prompts)} prompts"
        )
    for each in prompts:
        if len(each) > MAX_PROMPT_LENGTH:
            raise ValueError(f"prompt: at most {MAX_PROMPT_LENGTH:,} characters, got {len(each):,}")
