"""The judge: a small classifier of the real training images, one head an attribute.

It never sees a reconstruction or a sample in training. Its predictions tell whether a picture shows
what its caption says, its penultimate features are where sets of pictures are compared: on small
pictures features learned from the data itself tell more than those of an ImageNet network.

Where some pairs of attributes are kept out of the training split, an ordinary classifier learns
that red is never a seven, and so calls a red seven wrong. Attributes of colour can therefore be
told by a network of their own, with the one for all others blind to colour.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.judge.colorless import colorless
from vqpriors.judge.labels import UNKNOWN


class JudgeConfig(Section):
    """The judge's network, and what it trains on.

    Attributes:
        width: Channels of the first block; every block doubles them.
        depth: Number of blocks, each of which halves the picture's edge.
        dropout: Share of the features dropped before the heads in training.
        shift: Largest random displacement of a picture in training, pixels.
        color_attributes: Attributes told by colour, which the other attributes' network can't see.
        phases: The curriculum.
    """

    width: int = Field(ge=8, multiple_of=8)
    depth: int = Field(ge=1, le=6)
    dropout: float = Field(ge=0, lt=1)
    shift: int = Field(ge=0)
    color_attributes: list[str]
    phases: dict[str, Phase] = Field(min_length=1)


class Block(nn.Module):
    """Halve the picture, then refine it: two 3x3 convolutions, the second one residual.

    Group rather than batch normalisation: it has no running statistics, so averaged weights and any
    batch size give the same network.
    """

    is_fsdp_unit = True

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.halve_norm = nn.GroupNorm(8, out_channels)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.refine_norm = nn.GroupNorm(8, out_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) float to (B, out_channels, ceil(H / 2), ceil(W / 2)) float."""
        hidden = F.relu(self.halve_norm(self.halve(hidden)))  # (B, out_channels, H/2, W/2)
        return F.relu(hidden + self.refine_norm(self.refine(hidden)))


class Branch(nn.Module):
    """Blocks, an average over the picture, and a linear head for each of some attributes."""

    def __init__(
        self,
        *,
        channels: int,
        num_classes: Mapping[str, int],
        width: int,
        depth: int,
        dropout: float,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        pairs = zip([channels, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block(in_channels=i, out_channels=o) for i, o in pairs))
        self.dropout = nn.Dropout(dropout)
        # One matrix for all heads: a module's name may not hold the dots that an attribute's may.
        self.heads = nn.Linear(widths[-1], sum(num_classes.values()))
        self.num_classes = dict(num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) float to (B, width of the heads) float32."""
        return self.blocks(images).float().mean(dim=(2, 3))

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """Map features to the logits of each attribute, (B, classes) float32."""
        logits = self.heads(self.dropout(features)).float()
        return dict(
            zip(self.num_classes, logits.split(list(self.num_classes.values()), 1), strict=True)
        )


class Judge(nn.Module):
    """A convolutional classifier of several attributes at once, for pictures of any size.

    Attributes:
        classes: The class names of each attribute, attributes sorted by name.
        config: JSON values with which `Judge(**config)` builds an equal network.
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: Mapping[str, Sequence[str]],
        width: int,
        depth: int,
        dropout: float,
        color_attributes: Sequence[str] = (),
    ) -> None:
        """Build an untrained judge.

        Args:
            channels: C of the pictures, 1 or 3.
            classes: Class names by attribute.
            width: Channels of the first block; a multiple of 8. Every block doubles them.
            depth: Number of blocks, each of which halves the picture's edge.
            dropout: Share of the features dropped before the heads, in training only.
            color_attributes: Names of attributes that depend on colour, told by a network of a
                quarter of the width. Where `classes` has none of them, one network tells all.

        Raises:
            ValueError: If there is no attribute to learn.
        """
        super().__init__()
        if not classes:
            raise ValueError("a judge needs at least one attribute; the training split has none")
        self.config: dict[str, Any] = {
            "channels": channels,
            "classes": {name: list(classes[name]) for name in sorted(classes)},
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "color_attributes": list(color_attributes),
        }
        self.classes: dict[str, list[str]] = self.config["classes"]
        sizes = {name: len(names) for name, names in self.classes.items()}
        colors = {name: size for name, size in sizes.items() if name in color_attributes}
        others = {name: size for name, size in sizes.items() if name not in color_attributes}
        shared = {"depth": depth, "dropout": dropout}
        self.branches = nn.ModuleDict()
        if others:
            seen = 1 if colors else channels
            self.branches["shape"] = Branch(
                channels=seen, num_classes=others, width=width, **shared
            )
        if colors:
            quarter = max(8, width // 32 * 8)
            self.branches["color"] = Branch(
                channels=channels, num_classes=colors, width=quarter, **shared
            )

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features, averaged over the picture.

        Args:
            images: (B, C, H, W) float32 in -1..1, H and W at least 16.

        Returns:
            Those of the branches side by side; (B, F) float32.
        """
        gray = colorless(images) if "color" in self.branches else images
        views = {"shape": gray, "color": images}
        return torch.cat([b.features(views[name]) for name, b in self._named()], dim=1)

    def logits(self, features: Tensor) -> list[Tensor]:
        """Return the logits of each attribute.

        Args:
            features: As `features` gives them; (B, F) float.

        Returns:
            A tensors in the order of `classes`; (B, classes of the attribute) float32.
        """
        widths = [branch.heads.in_features for _, branch in self._named()]
        logits: dict[str, Tensor] = {}
        for (_, branch), part in zip(self._named(), features.split(widths, dim=1), strict=True):
            logits |= branch.logits(part)
        return [logits[name] for name in self.classes]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of each attribute, from (B, C, H, W) float32 images in -1..1."""
        return self.logits(self.features(images))

    def _named(self) -> list[tuple[str, Branch]]:
        return cast(list[tuple[str, Branch]], list(self.branches.items()))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the named losses of a batch.

        Args:
            batch: "images", (B, C, H, W) float32 in -1..1, and "labels", (B, A) int64 classes, one
                column an attribute in sorted order, -1 where unknown.

        Returns:
            "classification": cross-entropy in nats over the known labels of each attribute,
            averaged over attributes; an attribute without any known label counts as 0.
        """
        terms = [
            F.cross_entropy(logits, column, ignore_index=UNKNOWN, reduction="sum")
            / (column != UNKNOWN).sum().clamp(min=1)
            for logits, column in zip(
                self(batch["images"]), batch["labels"].unbind(dim=1), strict=True
            )
        ]
        return {"classification": torch.stack(terms).mean()}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely class of each attribute.

        Args:
            images: (B, C, H, W) float32 in -1..1.

        Returns:
            (B, A) int64.
        """
        return most_likely(self(images))


def most_likely(logits: list[Tensor]) -> Tensor:
    """Return the most likely class of each of A attributes, (B, A) int64."""
    return torch.stack([columns.argmax(dim=1) for columns in logits], dim=1)  # (B, A)
