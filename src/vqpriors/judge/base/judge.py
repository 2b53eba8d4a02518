"""Contract of judges, the choice of a kind, and loading a trained judge.

To add a judge, add one module or folder to `vqpriors.judge` and its params as the section
`judge.<module>` of params.yaml. The module exports:

    Config: a `Section` with the keys of that section, among them `shift` and `phases`.
    IS_AUTOMATIC: whether `judge.kind: auto` may choose it; the first one that can judge is taken.
    can_judge(training) -> bool: whether the training pictures have what it learns from.
    build(config, *, training) -> Judge: an untrained judge for an `ImageSet`.
    targets(judge, images) -> dict[str, Tensor]: what `losses` needs beside "images", a row for each
        picture of an `ImageSet`.
    restore(settings) -> Judge: builds it again from `Judge.settings`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vqpriors.core.artifact import load_model
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.images import ImageSet

PACKAGE = "vqpriors.judge"
AUTO = "auto"


class Judge(Protocol):
    """A network whose features, and classes or captions, measure pictures.

    Attributes:
        settings: The arguments from which `restore` builds it again; JSON values.
        classes: Class names by attribute, attributes sorted by name; empty for a judge of captions.
        is_matcher: Whether it matches pictures with captions, so that it has `match`.
        num_shape_features: The first so many features do not depend on the attributes of colour.
        is_colorless: Whether those features are of pictures without colour.
    """

    settings: dict[str, Any]
    classes: Mapping[str, Sequence[str]]
    is_matcher: bool
    num_shape_features: int
    is_colorless: bool

    def features(self, images: Tensor) -> Tensor:
        """Map pictures, (B, C, H, W) float32 in -1..1, to (B, F) float32 features."""
        ...

    def predict(self, features: Tensor) -> Tensor:
        """Return the most likely class of each attribute, (B, A) int64, from (B, F) features."""
        ...


class Matcher(Judge, Protocol):
    """A judge that also scores how well captions fit pictures."""

    def match(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """Return the similarity of B pictures, given their features, and M captions, (B, M)."""
        ...


def choose_kind(name: str, training: ImageSet) -> str | None:
    """Return the kind of judge to train; None if there is nothing to learn from.

    Args:
        name: A kind, or "auto".
        training: The training pictures.

    Raises:
        ValueError: If there is no such kind, or the pictures lack what it learns from.
    """
    if name != AUTO:
        if load_kind(PACKAGE, name, param="judge.kind").can_judge(training):
            return name
        raise ValueError(
            f"judge.kind: the training pictures have no {name} to tell apart; choose another kind "
            "or auto"
        )
    modules = {kind: load_kind(PACKAGE, kind, param="judge.kind") for kind in kind_names(PACKAGE)}
    able = (k for k, m in modules.items() if m.IS_AUTOMATIC and m.can_judge(training))
    return next(able, None)


def describe_judge(kind: str | None, judge: Judge | None) -> dict[str, Any]:
    """Return the JSON config that is saved with a judge and read by `load_judge`."""
    return {"kind": kind, "settings": {} if judge is None else judge.settings}


def load_judge(folder: Path, device: torch.device) -> tuple[Any, str]:
    """Load a trained judge in evaluation mode, and its fingerprint; (None, "") if there is none.

    Raises:
        ValueError: If the folder is damaged.
    """
    model = load_model(folder)
    if model.config["kind"] is None:
        return None, ""
    module = load_kind(PACKAGE, model.config["kind"], param="judge.kind")
    judge = module.restore(model.config["settings"])
    judge.load_state_dict(model.weights)
    return judge.eval().requires_grad_(False).to(device), model.fingerprint
