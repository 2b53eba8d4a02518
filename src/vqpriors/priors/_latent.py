"""A latent on which a one-step decode agrees, since its codes can't look at one another.

Codes that are drawn at once from separate distributions are those of an average of pictures. Given
a latent that says which picture it is to be, little is left to average over. What a latent may be
depends on the caption: one that is drawn without regard to it would ask for strokes of a two and
the caption for a seven.

References:
    Kingma & Welling 2013, Auto-Encoding Variational Bayes, arXiv:1312.6114;
    Sohn et al. 2015, Learning Structured Output Representation using Deep Conditional Generative
    Models (a prior that is learned from the condition).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqpriors.nn.blocks import Block
from vqpriors.nn.norm import RMSNorm


class Gaussian(NamedTuple):
    """Independent normal distributions; (B, latent_width) float32 each."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise, (B, latent_width), into draws."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def distance(self, other: "Gaussian") -> Tensor:
        """Return the divergence (Kullback-Leibler) from another, a mean over B, in nats."""
        share = (self.log_variance - other.log_variance).exp()
        gap = (self.mean - other.mean).square() / other.log_variance.exp()
        return 0.5 * (share + gap - 1 - share.log()).sum(1).mean()


class Latent(nn.Module):
    """Reads a latent off a whole picture in training, and tells the picture tower of one.

    At first captions say nothing of it: it is standard normal.

    Args:
        latent_width: Width of the latent.
        width: Width D of the tower.
        depth: Blocks that read the picture.
        heads: Attention heads.
    """

    def __init__(self, *, latent_width: int, width: int, depth: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=0.0, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.posterior = nn.Linear(width, 2 * latent_width)
        self.caption_norm = RMSNorm(width)
        self.prior = nn.Linear(width, 2 * latent_width)
        self.tell = nn.Linear(latent_width, width)

    def silence(self) -> None:
        """Let captions say nothing, whatever initialised the weights."""
        nn.init.zeros_(self.prior.weight)
        nn.init.zeros_(self.prior.bias)

    def expected(self, text: Tensor, is_real: Tensor) -> Gaussian:
        """Return what latents to expect given captions.

        Args:
            text: Their states in the text tower, (B, L, D).
            is_real: False at padding, (B, L) bool.
        """
        share = is_real[..., None].float()
        summary = (self.caption_norm(text) * share).sum(1) / share.sum(1)
        return _gaussian(self.prior(summary))

    def read(self, x: Tensor, *, angles: Tensor | None = None) -> Gaussian:
        """Return what latents pictures may have.

        Args:
            x: Embedded, (B, N, D).
            angles: Rotary positions, (N, head_width / 2); None where `x` has learned ones.
        """
        for block in self.blocks:
            x = block(x, is_causal=False, angles=angles)
        return _gaussian(self.posterior(self.norm(x).mean(1)))

    def forward(self, latent: Tensor) -> Tensor:
        """Turn latents, (B, latent_width), into what is added to every cell, (B, 1, D)."""
        return self.tell(latent)[:, None]


def _gaussian(values: Tensor) -> Gaussian:
    mean, spread = values.float().chunk(2, dim=-1)
    return Gaussian(mean, spread.clamp(-10, 4))


def normal(uniform: Tensor) -> Tensor:
    """Turn uniform draws in 0..1 into standard normal ones."""
    return torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).float()
