"""A patch discriminator, and the losses that sharpen a decoder with it.

References:
    Isola et al. 2017, pix2pix, arXiv:1611.07004 (the patch discriminator);
    Lim & Ye 2017, Geometric GAN, arXiv:1705.02894 (the hinge loss);
    Wang et al. 2018, pix2pixHD, arXiv:1711.11585 (distance of the discriminator's features);
    Esser et al. 2021, VQGAN, arXiv:2012.09841 (a discriminator for a tokenizer, adaptive weight).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from vqpriors.core.params import Section

NUM_LAYERS = 3  # each halves the picture
SLOPE = 0.2  # of the leaky ReLU
MAX_FACTOR = 1e4  # of the adversarial loss


class DiscriminatorConfig(Section):
    """`tokenizer.discriminator` of params.yaml."""

    width: int = Field(ge=1)


class PatchDiscriminator(nn.Module):
    """Convolutions that judge each patch of a picture: high for real ones, low for decoded ones.

    Attributes:
        uses_adamw: Its kernels are trained by AdamW even if the tokenizer's are trained by Muon.
    """

    uses_adamw = True

    def __init__(self, *, channels: int, width: int):
        super().__init__()
        widths = [channels, *(width * 2**i for i in range(NUM_LAYERS))]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(source, target, 4, stride=2, padding=1),
                nn.GroupNorm(1, target) if step else nn.Identity(),
                nn.LeakyReLU(SLOPE),
            )
            for step, (source, target) in enumerate(pairwise(widths))
        )
        self.judge = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge (B, C, H, W) pictures.

        Returns:
            Logits of the patches, (B, 1, H / 8, W / 8), and the output of each layer.
        """
        features, x = [], images
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return self.judge(x), features


def sharpening_losses(
    discriminator: PatchDiscriminator,
    images: Tensor,
    restored: Tensor,
    *,
    reconstruction: Tensor,
    last_weight: Tensor,
) -> dict[str, Tensor]:
    """Return the losses of the decoder and of the discriminator; none trains the other.

    Args:
        discriminator: Judges the pictures.
        images: Real pictures, (B, C, H, W).
        restored: Their reconstructions, with gradients in training.
        reconstruction: The reconstruction loss.
        last_weight: Weight of the decoder's last layer.

    Returns:
        "adversarial": of the decoder. In training it is scaled such that its gradient at
        `last_weight` is as large as that of the reconstruction loss; "features": of the decoder,
        the mean distance of the discriminator's features, as a share of their size;
        "discriminator": hinge loss of the discriminator.
    """
    frozen = {name: value.detach() for name, value in discriminator.state_dict().items()}
    judged, features = functional_call(discriminator, frozen, (restored,))
    real_judged, real_features = discriminator(images)
    restored_judged, _ = discriminator(restored.detach())
    adversarial = -judged.float().mean()
    hinge = F.relu(1 - real_judged.float()).mean() + F.relu(1 + restored_judged.float()).mean()
    distances = [
        (real.float() - each.float()).abs().mean() / real.float().abs().mean()
        for real, each in zip((each.detach() for each in real_features), features, strict=True)
    ]
    if restored.requires_grad and last_weight.requires_grad:
        adversarial = adversarial * _adaptive_factor(reconstruction, adversarial, last_weight)
    return {
        "adversarial": adversarial,
        "features": torch.stack(distances).mean(),
        "discriminator": hinge / 2,
    }


def _adaptive_factor(reconstruction: Tensor, adversarial: Tensor, last_weight: Tensor) -> Tensor:
    norms = [
        torch.autograd.grad(loss, last_weight, retain_graph=True)[0].float().norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + 1e-12)).clamp(max=MAX_FACTOR).detach()
