"""A latent on which a one-step decode agrees, since its codes can't look at one another.

Codes that are drawn at once from separate distributions are those of an average of pictures. Given
a latent that says which picture it is to be, little is left to average over. What a latent may be
depends on the caption: one that is drawn without regard to it would ask for strokes of a two and
the caption for a seven.

References:
    Kingma & Welling 2013, Auto-Encoding Variational Bayes, arXiv:1312.6114;
    Sohn et al. 2015, Learning Structured Output Representation using Deep Conditional Generative
    Models (a prior that is learned from the condition);
    Dinh et al. 2016, Density estimation using Real NVP, arXiv:1605.08803 (affine couplings);
    Chen et al. 2016, Variational Lossy Autoencoder, arXiv:1611.02731 (a flow as the prior).
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.nn.blocks import Block
from vqpriors.nn.norm import RMSNorm

MOST = 2.0  # the log of the largest factor by which one layer stretches


class Gaussian(NamedTuple):
    """Independent normal distributions; (B, latent_width) float32 each."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise, (B, latent_width), into draws."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def entropy(self) -> Tensor:
        """Return the mean surprise of draws, (B,) nats."""
        return 0.5 * (1 + math.log(2 * math.pi) + self.log_variance).sum(1)


class Coupling(nn.Module):
    """Shifts and stretches the second half of a latent as the first half and a caption say.

    Args:
        latent_width: Width of the latent.
        width: Width D of the caption's summary, and of the layer between.
    """

    def __init__(self, *, latent_width: int, width: int):
        super().__init__()
        self.kept = latent_width // 2
        self.read = nn.Linear(self.kept + width, width)
        self.say = nn.Linear(width, 2 * (latent_width - self.kept))

    def forward(self, first: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Return shift and log of the stretch, each as wide as the second half."""
        heard = F.silu(self.read(torch.cat([first.to(summary.dtype), summary], dim=1)))
        return _shift_and_stretch(self.say(heard))


class Expectation(nn.Module):
    """Which latents a caption lets expect: standard normal noise, bent by what the caption says.

    Each layer can be undone exactly, so a latent's density can be told. At first nothing is bent.

    Args:
        latent_width: Width of the latent.
        width: Width D of the text tower.
        depth: Couplings; with none, a normal distribution is left.
    """

    def __init__(self, *, latent_width: int, width: int, depth: int):
        super().__init__()
        self.norm = RMSNorm(width)
        self.say = nn.Linear(width, 2 * latent_width)
        sizes = {"latent_width": latent_width, "width": width}
        self.couplings = nn.ModuleList(Coupling(**sizes) for _ in range(depth))

    def silence(self) -> None:
        """Bend nothing, whatever initialised the weights."""
        for layer in (self, *self.couplings):
            nn.init.zeros_(cast(nn.Linear, layer.say).weight)
            nn.init.zeros_(cast(nn.Linear, layer.say).bias)

    def draw(self, noise: Tensor, text: Tensor, is_real: Tensor) -> Tensor:
        """Turn noise into latents.

        Args:
            noise: Standard normal, (B, latent_width).
            text: The captions' states in the text tower, (B, L, D).
            is_real: False at padding, (B, L) bool.

        Returns:
            (B, latent_width) float32.
        """
        summary, latent = self._summary(text, is_real), noise
        for coupling in self.couplings:
            first, second = self._halves(latent)
            shift, stretch = coupling(first, summary)
            latent = torch.cat([second * stretch.exp() + shift, first], dim=1)
        shift, stretch = _shift_and_stretch(self.say(summary))
        return latent * stretch.exp() + shift

    def surprise(self, latent: Tensor, text: Tensor, is_real: Tensor) -> Tensor:
        """Return minus the log of latents' density, (B,) float32 nats; arguments as of `draw`."""
        summary = self._summary(text, is_real)
        shift, stretch = _shift_and_stretch(self.say(summary))
        latent, stretched = (latent - shift) * (-stretch).exp(), stretch.sum(1)
        for coupling in reversed(self.couplings):
            width = latent.shape[1] // 2
            bent, first = latent.split([latent.shape[1] - width, width], dim=1)
            shift, stretch = coupling(first, summary)
            latent = torch.cat([first, (bent - shift) * (-stretch).exp()], dim=1)
            stretched = stretched + stretch.sum(1)
        normal = 0.5 * (latent.square() + math.log(2 * math.pi)).sum(1)
        return normal + stretched

    def _summary(self, text: Tensor, is_real: Tensor) -> Tensor:
        share = is_real[..., None].to(text.dtype)
        return (self.norm(text) * share).sum(1) / share.sum(1)

    def _halves(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        width = latent.shape[1] // 2
        return latent[:, :width], latent[:, width:]


class Latent(nn.Module):
    """Reads a latent off a whole picture in training, and tells the picture tower of one.

    Attributes:
        expectation: Which latents captions let expect.

    Args:
        latent_width: Width of the latent.
        width: Width D of the towers.
        depth: Blocks that read the picture.
        couplings: Layers of the expectation.
        heads: Attention heads.
    """

    def __init__(self, *, latent_width: int, width: int, depth: int, couplings: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=0.0, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.posterior = nn.Linear(width, 2 * latent_width)
        self.expectation = Expectation(latent_width=latent_width, width=width, depth=couplings)
        self.tell = nn.Linear(latent_width, width)

    def read(self, x: Tensor, *, turns: Tensor | None = None) -> Gaussian:
        """Return what latents pictures may have.

        Args:
            x: Embedded, (B, N, D).
            turns: Rotary positions, (2, N, head_width); None where `x` has learned ones.
        """
        for block in self.blocks:
            x = block(x, is_causal=False, turns=turns)
        mean, spread = self.posterior(self.norm(x).mean(1)).float().chunk(2, dim=-1)
        return Gaussian(mean, spread.clamp(-10, 4))

    def forward(self, latent: Tensor) -> Tensor:
        """Turn latents, (B, latent_width), into what is added to every cell, (B, 1, D)."""
        return self.tell(latent)[:, None]


def _shift_and_stretch(values: Tensor) -> tuple[Tensor, Tensor]:
    shift, stretch = values.float().chunk(2, dim=1)
    return shift, MOST * (stretch / MOST).tanh()


def normal(uniform: Tensor) -> Tensor:
    """Turn uniform draws in 0..1 into standard normal ones."""
    return torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).float()
