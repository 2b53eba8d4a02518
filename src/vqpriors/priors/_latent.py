"""A latent on which a one-step decode agrees, since its codes can't look at one another.

Codes that are drawn at once from separate distributions are those of an average of pictures. Given
a latent that says which picture it is to be, little is left to average over.

Reference:
    Kingma & Welling 2013, Auto-Encoding Variational Bayes, arXiv:1312.6114.
"""

import torch
from torch import Tensor, nn

from vqpriors.nn.blocks import Block
from vqpriors.nn.norm import RMSNorm


class Latent(nn.Module):
    """Reads a latent off a whole picture in training, and tells the picture tower of one.

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
        self.tell = nn.Linear(latent_width, width)

    def read(
        self, x: Tensor, noise: Tensor, *, angles: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw the latent of embedded pictures.

        Args:
            x: (B, N, D).
            noise: (B, latent_width), standard normal.
            angles: Rotary positions, (N, head_width / 2); None where `x` has learned ones.

        Returns:
            The latents, (B, latent_width) float32, and how far their distributions are from a
            standard normal one, the mean over pictures, a scalar in nats.
        """
        for block in self.blocks:
            x = block(x, is_causal=False, angles=angles)
        mean, spread = self.posterior(self.norm(x).mean(1)).float().chunk(2, dim=-1)
        log_variance = spread.clamp(-10, 4)
        distance = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        return mean + (0.5 * log_variance).exp() * noise, distance

    def forward(self, latent: Tensor) -> Tensor:
        """Turn latents, (B, latent_width), into what is added to every cell, (B, 1, D)."""
        return self.tell(latent)[:, None]


def normal(uniform: Tensor) -> Tensor:
    """Turn uniform draws in 0..1 into standard normal ones."""
    return torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6)).float()
