"""VQ-VAE: a convolutional autoencoder with a quantized bottleneck.

References:
    van den Oord et al. 2017, VQ-VAE, arXiv:1711.00937;
    Razavi et al. 2019, VQ-VAE-2, arXiv:1906.00446 (the network, with one level).
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.params import Section
from vqpriors.core.phases import Phase
from vqpriors.tokenizer.base.discriminator import PatchDiscriminator, sharpening_losses
from vqpriors.tokenizer.base.quantizer import Quantizer


class Config(Section):
    """`tokenizer.vqvae` of params.yaml."""

    width: int = Field(ge=1)
    stride: int = Field(ge=2)
    residual_blocks: int = Field(ge=0)
    residual_width: int = Field(ge=1)
    mse_weight: float = Field(ge=0)
    l1_weight: float = Field(ge=0)
    phases: dict[str, Phase] = Field(min_length=1)


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, *, width: int, residual_width: int):
        super().__init__()
        self.inner = nn.Conv2d(width, residual_width, 3, padding=1)
        self.outer = nn.Conv2d(residual_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x + self.outer(F.relu(self.inner(F.relu(x))))


def residual_stack(*, width: int, blocks: int, residual_width: int) -> nn.Sequential:
    """Stack pre-activation residual blocks, then a ReLU, since the last block ends without one."""
    stack = [ResidualBlock(width=width, residual_width=residual_width) for _ in range(blocks)]
    return nn.Sequential(*stack, nn.ReLU())


class Encoder(nn.Module):
    """Convolutional encoder: `num_downsamples` strided convolutions, then residual blocks."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        num_downsamples: int,
        blocks: int,
        residual_width: int,
        dim: int,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(num_downsamples):
            source = channels if step == 0 else _width(width, num_downsamples - step)
            target = _width(width, num_downsamples - step - 1)
            layers += [nn.Conv2d(source, target, 4, stride=2, padding=1), nn.ReLU()]
        self.down = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1))
        self.refine = residual_stack(width=width, blocks=blocks, residual_width=residual_width)
        self.project = nn.Conv2d(width, dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (B, C, H, W), to a grid of vectors, (B, D, H / stride, W / stride)."""
        return self.project(self.refine(self.down(images)))


class Decoder(nn.Module):
    """Convolutional decoder: residual blocks, then transposed convolutions; mirrors the encoder."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        num_downsamples: int,
        blocks: int,
        residual_width: int,
        dim: int,
    ):
        super().__init__()
        self.project = nn.Conv2d(dim, width, 3, padding=1)
        self.refine = residual_stack(width=width, blocks=blocks, residual_width=residual_width)
        layers: list[nn.Module] = []
        for step in range(num_downsamples):
            is_last = step == num_downsamples - 1
            source, target = _width(width, step), channels if is_last else _width(width, step + 1)
            layers.append(nn.ConvTranspose2d(source, target, 4, stride=2, padding=1))
            layers += [] if is_last else [nn.ReLU()]
        self.up = nn.Sequential(*layers)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map a grid of vectors, (B, D, h, w), to images, (B, C, h * stride, w * stride)."""
        return self.up(self.refine(self.project(vectors)))


class VQVAE(nn.Module):
    """Vector-quantized autoencoder of pictures in -1..1, with codes in raster order.

    Attributes:
        rows: Rows of the code grid.
        columns: Columns of the code grid.
        num_codes: Codebook size K.
        is_quantizing: False while the autoencoder is pretrained without the quantizer.
        is_sharpening: Whether the losses include those of the discriminator.
        discriminator: For training; None without a phase that sharpens.
    """

    discriminator: PatchDiscriminator | None

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        quantizer: Quantizer,
        width: int,
        stride: int,
        residual_blocks: int,
        residual_width: int,
        mse_weight: float,
        l1_weight: float,
    ):
        super().__init__()
        if stride & (stride - 1) or image_size % stride:
            raise ValueError(
                "tokenizer.vqvae.stride: must be a power of 2 that divides the image size, "
                f"got stride={stride} for {image_size} px"
            )
        if mse_weight + l1_weight == 0:
            raise ValueError(
                "tokenizer.vqvae.mse_weight: mse_weight and l1_weight must not both be 0"
            )
        self.rows = self.columns = image_size // stride
        self.mse_weight, self.l1_weight = mse_weight, l1_weight
        self.num_codes, self.channels = quantizer.num_codes, channels
        self.is_quantizing, self.is_sharpening, self.discriminator = True, False, None
        sizes = {"channels": channels, "width": width, "num_downsamples": stride.bit_length() - 1}
        sizes |= {"blocks": residual_blocks, "residual_width": residual_width}
        self.encoder = Encoder(**sizes, dim=quantizer.dim)
        self.quantizer = quantizer
        self.decoder = Decoder(**sizes, dim=quantizer.dim)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def add_discriminator(self, *, width: int) -> None:
        """Add a discriminator, for phases that sharpen.

        Args:
            width: Channels of its first layer.
        """
        discriminator = PatchDiscriminator(channels=self.channels, width=width)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @property
    def keeps_last(self) -> bool:
        """Whether training keeps the last weights instead of the best.

        With a discriminator, the losses do not show which epoch is best.
        """
        return self.is_sharpening

    @property
    def idle(self) -> tuple[str, ...]:
        """Submodules that no loss of the current phase uses."""
        return () if self.is_sharpening or self.discriminator is None else ("discriminator",)

    def begin_phase(self, *, quantize: bool = True, sharpen: bool = False) -> None:
        """Begin a phase of training.

        Args:
            quantize: False trains the autoencoder with vectors that are bounded, not quantized.
            sharpen: Train the decoder with a discriminator, for sharper pictures.
        """
        self.is_quantizing, self.is_sharpening = quantize, sharpen

    @torch.no_grad()
    def begin_update(self, parts: Sequence[dict[str, Tensor]]) -> None:
        """Initialise the codebook from a batch in several parts, as from the whole batch."""
        quantizer: Any = self.quantizer
        is_learned = quantizer.training and hasattr(quantizer, "initialise")
        if self.is_quantizing and is_learned and not quantizer.is_initialised:
            rows = [_to_rows(self._encode(part["images"])) for part in parts]
            quantizer.initialise(torch.cat(rows))

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the reconstruction loss and those of the quantizer and of the discriminator.

        Args:
            batch: "images": (B, C, H, W) float in -1..1.

        Returns:
            "reconstruction": weighted sum of mean squared and mean absolute error; if
            `is_quantizing`, the losses of the quantizer by their names; if `is_sharpening`, those
            of `sharpening_losses`.
        """
        images = batch["images"]
        vectors = self._encode(images)
        if self.is_quantizing:
            quantized = self.quantizer(_to_rows(vectors))
            rows, losses = quantized.vectors, quantized.losses
        else:
            rows, losses = self.quantizer.bound(_to_rows(vectors)), {}
        restored = self.decoder(_to_grid(rows, vectors))
        losses = {"reconstruction": self._distance(restored, images), **losses}
        if not self.is_sharpening or self.discriminator is None:
            return losses
        return losses | sharpening_losses(
            self.discriminator,
            images.contiguous(memory_format=torch.channels_last),
            restored,
            reconstruction=losses["reconstruction"],
            last_weight=cast(nn.ConvTranspose2d, self.decoder.up[-1]).weight,
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes, (B, N) int64, of (B, C, H, W) float images in -1..1."""
        vectors = self._encode(images)
        return self.quantizer.encode(_to_rows(vectors)).view(len(images), self.rows * self.columns)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images, (B, C, H, W) float clamped to -1..1, of (B, N) int64 codes."""
        shape = (len(codes), self.rows, self.columns, self.quantizer.dim)
        grid = self.quantizer.decode(codes).view(shape)
        vectors = grid.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return self.decoder(vectors).float().clamp(-1, 1)

    @torch.no_grad()
    def codebook(self) -> Tensor:
        """Return the codebook, (K, V) float32: the vector of each code."""
        device = next(self.parameters()).device
        return self.quantizer.decode(torch.arange(self.num_codes, device=device)).float()

    def _encode(self, images: Tensor) -> Tensor:
        return self.encoder(images.contiguous(memory_format=torch.channels_last))

    def _distance(self, restored: Tensor, images: Tensor) -> Tensor:
        error = restored.float() - images
        return self.mse_weight * error.square().mean() + self.l1_weight * error.abs().mean()


def _width(width: int, num_downsamples: int) -> int:
    return width if num_downsamples == 0 else max(width // 2, 1)


def _to_rows(vectors: Tensor) -> Tensor:
    return vectors.permute(0, 2, 3, 1).reshape(-1, vectors.shape[1])  # (B, D, h, w) -> (B h w, D)


def _to_grid(rows: Tensor, like: Tensor) -> Tensor:
    batch, dim, height, width = like.shape
    return rows.view(batch, height, width, dim).permute(0, 3, 1, 2)  # (B h w, D) -> (B, D, h, w)


def build(config: Config, *, image_size: int, channels: int, quantizer: Quantizer) -> VQVAE:
    """Build the tokenizer from its config.

    Raises:
        ValueError: If the stride is not a power of 2 that divides the image size, or the weights of
            both reconstruction losses are 0.
    """
    return VQVAE(
        image_size=image_size,
        channels=channels,
        quantizer=quantizer,
        **config.model_dump(exclude={"phases"}),
    )
