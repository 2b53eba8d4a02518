"""Runs for measures, with pictures, captions and a judge whose answers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqpriors.data.images import ImageSet
from vqpriors.data.samples import Prompt
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import TokenSet
from vqpriors.evaluation.base.inputs import Inputs


class PixelJudge(nn.Module):
    """A judge whose features are the pixels and whose only attribute is whether a picture is light.

    Args:
        is_wrong: Whether it calls light pictures dark.
    """

    is_matcher = False
    is_colorless = False
    num_shape_features = 4

    def __init__(self, *, is_wrong: bool = False) -> None:
        super().__init__()
        self.classes = {"tone": ["dark", "light"]}
        self.is_wrong, self.unused = is_wrong, nn.Parameter(torch.zeros(1))

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def predict(self, features: Tensor) -> Tensor:
        is_light = features.mean(dim=1, keepdim=True) > 0
        return (is_light ^ self.is_wrong).long()


def pictures(count: int, *, seed: int, tone: str | None = None) -> np.ndarray:
    """Draw pictures of 2 x 2 random pixels, half of them dark, or all of one tone."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 100, size=(count, 1, 2, 2), dtype=np.uint8)
    is_light = np.arange(count) % 2 == 1 if tone is None else np.full(count, tone == "light")
    return pixels + np.where(is_light, 150, 0).astype(np.uint8)[:, None, None, None]


def image_set(pixels: np.ndarray, *, groups: list[str] | None = None, prefix: str) -> ImageSet:
    """Describe pictures by their tone: as label, attribute and caption."""
    ids = [f"{prefix}{row}" for row in range(len(pixels))]
    tones = ["light" if picture.mean() > 127.5 else "dark" for picture in pixels]
    captions = [f"a {tone} picture" for tone in tones]
    attributes = [{"tone": tone} for tone in tones]
    return ImageSet(ids, groups or ids, pixels, captions, list(tones), attributes)


def inputs_of(
    *,
    drawn: np.ndarray,
    rows: list[int] | None = None,
    prompts: list[Prompt] | None = None,
    real: ImageSet | None = None,
    train: ImageSet | None = None,
    codes: np.ndarray | None = None,
    reconstructions: np.ndarray | None = None,
    is_wrong: bool = False,
    reliable_accuracy: float = 0.9,
    reads_text: bool = True,
    data: Path = Path("unused"),
) -> Inputs:
    """Make a run whose tokenizer loses nothing, unless `reconstructions` are given.

    Args:
        drawn: Drawn pictures, (M, 1, 2, 2) uint8.
        rows: Pictures of the evaluated split whose captions they were drawn from; default: in
            order.
        prompts: Their prompts, in place of `rows`.
        real: The evaluated split; default: 200 pictures.
        train: The training split; default: 300 other pictures.
        reconstructions: Pictures of the evaluated split via the tokenizer; default: unchanged.
        codes: Codes of the drawn pictures; default: different for each picture.
        is_wrong: See `PixelJudge`.
        reliable_accuracy: See `Inputs`.
        reads_text: Whether the prior reads captions.
        data: See `Inputs`.
    """
    real = real or image_set(pictures(200, seed=1), prefix="real")
    train = train or image_set(pictures(300, seed=2), prefix="train")
    if prompts is None:
        chosen = range(len(drawn)) if rows is None else rows
        prompts = [Prompt(real.captions[row], real.ids[row]) for row in chosen]
    inputs = Inputs(
        data,
        split="test",
        batch_size=64,
        bound_samples=2,
        bootstrap_samples=20,
        reliable_accuracy=reliable_accuracy,
        seed=0,
    )
    captions = [prompt.caption for prompt in prompts]
    known: dict[str, Any] = {
        "real": real,
        "reads_text": reads_text,
        "train": train,
        "reconstructions": real.pixels if reconstructions is None else reconstructions,
        "train_reconstructions": train.pixels,
        "tokens": _tokens(real.ids, real.captions, _counted(len(real))),
        "_judge": (PixelJudge(is_wrong=is_wrong), "0123456789abcdef"),
        "_samples": (
            prompts,
            drawn,
            _tokens(
                [p.id for p in prompts], captions, _counted(len(drawn)) if codes is None else codes
            ),
        ),
    }
    inputs.__dict__.update(known)  # in place of what it would read from a folder
    return inputs


def _counted(count: int) -> np.ndarray:
    return np.stack([np.arange(count) // 100, np.arange(count) % 100], axis=1)


def _tokens(ids: list[str], captions: list[str], codes: np.ndarray) -> TokenSet:
    return TokenSet(TokenSpec(1, 2, 100, "x"), ids, captions, codes)  # pyright: ignore[reportArgumentType]
