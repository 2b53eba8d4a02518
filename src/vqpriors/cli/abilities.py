"""Abilities of a model's prior, known before torch is imported and the model is loaded."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqpriors.inference.bundle import local_folder

if TYPE_CHECKING:
    from vqpriors.inference.generator import Generator

# Priors that are not listed are checked after loading.
MASKED = ("cftn", "cftn2")
STEPWISE = ("lstm", "transformer")
CAPTIONERS = ("cftn2",)


@dataclass(frozen=True)
class Abilities:
    """What a model can do.

    Attributes:
        arch: The kind of prior.
        has_steps: Whether the number of decoding steps can be chosen.
        redraws: Whether it can redraw any part of a picture.
        captions: Whether it can caption pictures.
        reads_text: Whether pictures depend on prompts.
    """

    arch: str
    has_steps: bool
    redraws: bool
    captions: bool
    reads_text: bool

    def require_redrawing(self, option: str) -> None:
        """Refuse an option that redraws parts of a picture, if the prior can't.

        Raises:
            ValueError: Names the option, and the priors that can.
        """
        if not self.redraws:
            problem = f"{self.arch} draws in one order, from the top, and can't redraw parts"
            raise ValueError(f"{option}: {problem}; {_other(MASKED)}")

    def require_captions(self) -> None:
        """Refuse to caption pictures, if the prior can't.

        Raises:
            ValueError: Names the priors that can.
        """
        if not self.captions:
            raise ValueError(f"{self.arch} writes no captions; {_other(CAPTIONERS)}")


def read_abilities(source: str, revision: str | None) -> Abilities | None:
    """Read the abilities of the model in a folder from its configs.

    Args:
        source: As in `Generator.load`.
        revision: As in `Generator.load`.

    Returns:
        None if they are known only after loading: of a revision, of a model on the Hub, of other
        kinds of priors, or if a config can't be read.
    """
    if revision is not None:
        return None
    try:
        folder = local_folder(source)
        arch = json.loads((folder / "prior/config.json").read_text())["arch"]
        text = json.loads((folder / "text/config.json").read_text())["encoder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if arch not in (*MASKED, *STEPWISE):
        return None
    is_masked = arch in MASKED
    return Abilities(arch, is_masked, is_masked, arch in CAPTIONERS, text != "none")


def abilities_of(generator: "Generator") -> Abilities:
    """Return the abilities of a loaded model."""
    return Abilities(
        generator.arch,
        generator.has_steps,
        "in-painting" in generator.sampler.module.EDITS,
        generator.is_captioner,
        generator.reads_text,
    )


def _other(priors: tuple[str, ...]) -> str:
    train = f"train one with `dvc exp run -S prior.arch={priors[0]}`"
    return f"choose a model with the prior {' or '.join(priors)} by --from or --rev, or {train}"
