"""Peers of the tokenizer: what they take for a loss, and how they encode.

diffusers' `VQModel` has channels for about as many parameters as ours. vector-quantize-pytorch is a
quantizer alone: it stands in our network, laid out in memory as torch does by default.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.sizes import Size
from vqpriors.tokenizer.vqvae import Decoder, Encoder

DIFFUSERS, LUCIDRAINS = "diffusers", "vector-quantize-pytorch"
NAMES = {DIFFUSERS: "VQModel", LUCIDRAINS: "VectorQuantize in the same network"}
COMMITMENT, DECAY = 0.25, 0.97


class VQModelNet(nn.Module):
    """A VQModel, without attention, since ours has none."""

    def __init__(self, size: Size):
        super().__init__()
        from diffusers.models.autoencoders.vq_model import VQModel

        width = size.hidden // 4
        self.model: Any = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(width, width, 2 * width),
            latent_channels=size.code_width,
            num_vq_embeddings=size.num_codes,
            norm_num_groups=width,
            mid_block_add_attention=False,
        )

    def loss(self, images: Tensor) -> Tensor:
        """Return squared error and commitment of (B, 3, H, W) float images in -1..1."""
        out = self.model(images)
        return F.mse_loss(out.sample.float(), images) + out.commit_loss

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes, (B h w,) int64."""
        return self.model.quantize(self.model.encode(images).latents)[2][2]


class VectorQuantizeNet(nn.Module):
    """Our encoder and decoder around vector-quantize-pytorch's quantizer."""

    def __init__(self, size: Size):
        super().__init__()
        sizes = {"channels": 3, "width": size.hidden, "num_downsamples": 2, "blocks": 2}
        sizes |= {"residual_width": size.residual_width, "dim": size.code_width}
        self.encoder, self.decoder = Encoder(**sizes), Decoder(**sizes)
        self.quantizer = vector_quantize(size, accept_image_fmap=True, kmeans_init=True)

    def loss(self, images: Tensor) -> Tensor:
        """Return squared error and commitment of (B, 3, H, W) float images in -1..1."""
        vectors, _, commitment = self.quantizer(self.encoder(images))
        return F.mse_loss(self.decoder(vectors).float(), images) + commitment.sum()

    def codes(self, images: Tensor) -> Tensor:
        """Return the codes, (B, h, w) int64."""
        return self.quantizer(self.encoder(images))[1]


PEERS = {DIFFUSERS: VQModelNet, LUCIDRAINS: VectorQuantizeNet}


def vector_quantize(size: Size, **options: Any) -> Any:
    """Build vector-quantize-pytorch's quantizer with the averages and the commitment of ours."""
    from vector_quantize_pytorch import VectorQuantize

    settings = {"decay": DECAY, "commitment_weight": COMMITMENT, **options}
    return VectorQuantize(dim=size.code_width, codebook_size=size.num_codes, **settings)


def vq_model_quantizer(size: Size) -> Any:
    """Build diffusers' quantizer."""
    from diffusers.models.autoencoders.vae import VectorQuantizer

    return VectorQuantizer(size.num_codes, size.code_width, beta=COMMITMENT)
