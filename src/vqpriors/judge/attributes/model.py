"""A classifier of attributes with convolutions and a head for each attribute.

Its predictions measure adherence, and its penultimate features the distances between sets of
pictures: on small pictures, features learned from the same data are more informative than those of
an ImageNet network.

If some pairs of attributes are missing in the training split, an ordinary classifier learns that
a seven is never red and misclassifies red sevens. Colour attributes can therefore have a network of
their own; the network for all other attributes then gets pictures without colour.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.data.images import ImageSet
from vqpriors.judge.attributes.labels import UNKNOWN, class_lists, label_matrix
from vqpriors.judge.base.blocks import make_blocks
from vqpriors.judge.base.colorless import colorless

IS_AUTOMATIC = True


class Config(Section):
    """`judge.attributes` of params.yaml.

    Attributes:
        width: Channels of the first block; every block doubles them.
        depth: Number of blocks, each of which halves the picture's edge.
        dropout: Dropout probability of the features before the heads.
        shift: Maximum random shift of a training picture, pixels.
        color_attributes: Attributes that depend on colour; the network of the other attributes
            gets pictures without colour.
        phases: Training phases, in order.
    """

    width: int = Field(ge=8, multiple_of=8)
    depth: int = Field(ge=1, le=6)
    dropout: float = Field(ge=0, lt=1)
    shift: int = Field(ge=0)
    color_attributes: list[str]
    phases: dict[str, Phase] = Field(min_length=1)


class Branch(nn.Module):
    """Convolutional blocks, global average pooling, and a linear head for each attribute."""

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
        self.blocks = make_blocks(channels=channels, width=width, depth=depth)
        self.dropout = nn.Dropout(dropout)
        # One matrix for all heads: an attribute's name may contain dots, a module's may not.
        self.heads = nn.Linear(width * 2 ** (depth - 1), sum(num_classes.values()))
        self.num_classes = dict(num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) float to (B, F) float32."""
        return self.blocks(images).float().mean(dim=(2, 3))

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """Map (B, F) float features to the logits of each attribute, (B, classes) float32."""
        logits = self.heads(self.dropout(features)).float()
        return dict(
            zip(self.num_classes, logits.split(list(self.num_classes.values()), 1), strict=True)
        )


class AttributeJudge(nn.Module):
    """A classifier of several attributes, for pictures of any size; a `Judge`."""

    is_matcher = False

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
            channels: Channels C of the pictures, 1 or 3.
            classes: Class names by attribute.
            width: Channels of the first block; a multiple of 8. Every block doubles them.
            depth: Number of blocks, each of which halves the picture's edge.
            dropout: Dropout probability of the features before the heads.
            color_attributes: Names of attributes that depend on colour. They get a network of
                their own with a quarter of the width, unless `classes` has none of them.

        Raises:
            ValueError: If there is no attribute.
        """
        super().__init__()
        if not classes:
            raise ValueError("a judge needs at least one attribute")
        self.settings: dict[str, Any] = {
            "channels": channels,
            "classes": {name: list(classes[name]) for name in sorted(classes)},
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "color_attributes": list(color_attributes),
        }
        self.classes: dict[str, list[str]] = self.settings["classes"]
        sizes = {name: len(names) for name, names in self.classes.items()}
        colors = {name: size for name, size in sizes.items() if name in color_attributes}
        others = {name: size for name, size in sizes.items() if name not in color_attributes}
        shared = {"depth": depth, "dropout": dropout}
        self.branches = nn.ModuleDict()
        if others:
            in_channels = 1 if colors else channels
            self.branches["shape"] = Branch(
                channels=in_channels, num_classes=others, width=width, **shared
            )
        if colors:
            quarter = max(8, width // 32 * 8)
            self.branches["color"] = Branch(
                channels=channels, num_classes=colors, width=quarter, **shared
            )
        first = next(iter(self._named_branches()))[1]
        self.num_shape_features = first.heads.in_features
        self.is_colorless = len(self.branches) == 2

    def features(self, images: Tensor) -> Tensor:
        """Compute the penultimate features, averaged over each picture.

        Args:
            images: (B, C, H, W) float32 in -1..1, H and W at least 16.

        Returns:
            The concatenated features of the branches; (B, F) float32.
        """
        shapes = colorless(images) if "color" in self.branches else images
        inputs = {"shape": shapes, "color": images}
        return torch.cat([b.features(inputs[name]) for name, b in self._named_branches()], dim=1)

    def logits(self, features: Tensor) -> list[Tensor]:
        """Compute the logits of each attribute.

        Args:
            features: The output of `features`; (B, F) float.

        Returns:
            A tensor for each attribute in the order of `classes`; (B, classes) float32.
        """
        branches = [branch for _, branch in self._named_branches()]
        widths = [branch.heads.in_features for branch in branches]
        logits: dict[str, Tensor] = {}
        for branch, part in zip(branches, features.split(widths, dim=1), strict=True):
            logits |= branch.logits(part)
        return [logits[name] for name in self.classes]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the logits of each attribute from (B, C, H, W) float32 images in -1..1."""
        return self.logits(self.features(images))

    def _named_branches(self) -> list[tuple[str, Branch]]:
        return cast(list[tuple[str, Branch]], list(self.branches.items()))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the classification loss of a batch.

        Args:
            batch: "images", (B, C, H, W) float32 in -1..1, and "labels", (B, A) int64 classes with
                a column for each attribute in sorted order, -1 if unknown.

        Returns:
            "classification": mean cross-entropy of all known labels, nats; 0 if there are none.
        """
        pairs = zip(self(batch["images"]), batch["labels"].unbind(dim=1), strict=True)
        terms = [
            F.cross_entropy(logits, column, ignore_index=UNKNOWN, reduction="sum")
            for logits, column in pairs
        ]
        count = self.num_targets(batch)["classification"]
        return {"classification": torch.stack(terms).sum() / count.clamp(min=1)}

    def num_targets(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the number of known labels, that "classification" is a mean over."""
        return {"classification": (batch["labels"] != UNKNOWN).sum()}

    def predict(self, features: Tensor) -> Tensor:
        """Return the most likely class of each attribute, (B, A) int64, from (B, F) features."""
        return torch.stack([columns.argmax(dim=1) for columns in self.logits(features)], dim=1)


def can_judge(training: ImageSet) -> bool:
    """Return whether some attribute has at least two values."""
    return bool(class_lists(training.attributes))


def build(config: Config, *, training: ImageSet) -> AttributeJudge:
    """Build an untrained judge of the attributes of the training pictures."""
    return AttributeJudge(
        channels=training.pixels.shape[1],
        classes=class_lists(training.attributes),
        **config.model_dump(exclude={"shift", "phases"}),
    )


def targets(judge: AttributeJudge, images: ImageSet) -> dict[str, Tensor]:
    """Return "labels", the classes of the pictures' attributes; see `AttributeJudge.losses`."""
    return {"labels": torch.from_numpy(label_matrix(images.attributes, judge.classes))}


def restore(settings: Mapping[str, Any]) -> AttributeJudge:
    """Build a judge again from its settings."""
    return AttributeJudge(**settings)
