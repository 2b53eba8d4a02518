"""A latent variable for one-step decoding, with a caption-conditional prior.

Codes that are drawn at once are independent given the caption, so without a latent they mix several
pictures. A latent shared by all cells selects one of them. Its prior depends on the caption: one
that did not could select the strokes of a two where the caption names a seven.

References:
    Kingma & Welling 2013, Auto-Encoding Variational Bayes, arXiv:1312.6114;
    Sohn et al. 2015, Learning Structured Output Representation using Deep Conditional Generative
    Models (a learned prior, given the condition);
    Dinh et al. 2016, Density estimation using Real NVP, arXiv:1605.08803 (affine couplings);
    Chen et al. 2016, Variational Lossy Autoencoder, arXiv:1611.02731 (a flow as the prior).
"""

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqpriors.core.hardware import widest_float
from vqpriors.nn.blocks import Block
from vqpriors.nn.norm import RMSNorm

MAX_LOG_SCALE = 2.0  # bound on the log of a layer's scale, so that a flow stays stable


class Gaussian(NamedTuple):
    """Independent normal distributions; (B, latent_width) float32 each."""

    mean: Tensor
    log_variance: Tensor

    def rsample(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise, (B, latent_width), into samples, with gradients."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def entropy(self) -> Tensor:
        """Return the differential entropy, (B,) nats."""
        return 0.5 * (1 + math.log(2 * math.pi) + self.log_variance).sum(1)


class Coupling(nn.Module):
    """Affine coupling: shift and scale of a latent's second half, from the first and the caption.

    Args:
        latent_width: Width of the latent.
        width: Width D of the caption's summary and of the hidden layer.
    """

    def __init__(self, *, latent_width: int, width: int):
        super().__init__()
        split = latent_width // 2
        self.in_proj = nn.Linear(split + width, width)
        self.out = nn.Linear(width, 2 * (latent_width - split))

    def forward(self, first: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shift and the log of the scale, each as wide as the second half."""
        hidden = F.silu(self.in_proj(torch.cat([first.to(summary.dtype), summary], dim=1)))
        return _shift_and_log_scale(self.out(hidden))


class LatentFlow(nn.Module):
    """Caption-conditional prior p(latent | caption): a normalising flow.

    Every layer is invertible, so the density is exact. It starts as the identity, up to the order
    of channels, so that the prior is standard normal at first.

    Args:
        latent_width: Width of the latent.
        width: Width D of the text tower.
        depth: Number of couplings; with 0, the prior is a normal distribution.
    """

    def __init__(self, *, latent_width: int, width: int, depth: int):
        super().__init__()
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, 2 * latent_width)
        sizes = {"latent_width": latent_width, "width": width}
        self.couplings = nn.ModuleList(Coupling(**sizes) for _ in range(depth))

    def init_identity(self) -> None:
        """Zero the output layers, so that the flow starts as the identity."""
        for layer in (self, *self.couplings):
            nn.init.zeros_(cast(nn.Linear, layer.out).weight)
            nn.init.zeros_(cast(nn.Linear, layer.out).bias)

    def rsample(self, noise: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Turn noise into latents.

        Args:
            noise: Standard normal, (B, latent_width).
            text: Hidden states of the captions in the text tower, (B, L, D).
            text_mask: False at padding, (B, L) bool.

        Returns:
            (B, latent_width) float32.
        """
        summary, latent = self._summary(text, text_mask), noise
        split = latent.shape[1] // 2
        for coupling in self.couplings:
            first, second = latent[:, :split], latent[:, split:]
            shift, log_scale = coupling(first, summary)
            latent = torch.cat([second * log_scale.exp() + shift, first], dim=1)
        shift, log_scale = _shift_and_log_scale(self.out(summary))
        return latent * log_scale.exp() + shift

    def nll(self, latent: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Return the negative log-density of latents, (B,) float32 nats.

        Args:
            latent: (B, latent_width).
            text: As in `rsample`.
            text_mask: As in `rsample`.
        """
        summary = self._summary(text, text_mask)
        shift, log_scale = _shift_and_log_scale(self.out(summary))
        latent, log_det = (latent - shift) * (-log_scale).exp(), log_scale.sum(1)
        split = latent.shape[1] // 2
        for coupling in reversed(self.couplings):
            second, first = latent.split([latent.shape[1] - split, split], dim=1)
            shift, log_scale = coupling(first, summary)
            latent = torch.cat([first, (second - shift) * (-log_scale).exp()], dim=1)
            log_det = log_det + log_scale.sum(1)
        normal = 0.5 * (latent.square() + math.log(2 * math.pi)).sum(1)
        return normal + log_det

    def _summary(self, text: Tensor, text_mask: Tensor) -> Tensor:
        weight = text_mask[..., None].to(text.dtype)
        return (self.norm(text) * weight).sum(1) / weight.sum(1)


class Latent(nn.Module):
    """A latent variable: its posterior given a picture, its prior, and its input to the tower.

    Args:
        latent_width: Width of the latent.
        width: Width D of the towers.
        depth: Blocks of the posterior's encoder.
        flow_layers: Couplings of the prior.
        heads: Attention heads.

    Attributes:
        flow: The prior, given a caption.
    """

    def __init__(self, *, latent_width: int, width: int, depth: int, flow_layers: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=0.0, has_text=False) for _ in range(depth)
        )
        self.norm = RMSNorm(width)
        self.posterior = nn.Linear(width, 2 * latent_width)
        self.flow = LatentFlow(latent_width=latent_width, width=width, depth=flow_layers)
        self.to_tokens = nn.Linear(latent_width, width)

    def encode(self, x: Tensor, *, rope: Tensor | None = None) -> Gaussian:
        """Return the posterior, given pictures.

        Args:
            x: Embedded codes, (B, N, D).
            rope: Rotary positions, (2, N, head_width); None where `x` has learned ones.
        """
        for block in self.blocks:
            x = block(x, is_causal=False, rope=rope)
        mean, log_variance = self.posterior(self.norm(x).mean(1)).float().chunk(2, dim=-1)
        return Gaussian(mean, log_variance.clamp(-10, 4))

    def forward(self, latent: Tensor) -> Tensor:
        """Turn latents, (B, latent_width), into a vector for all cells, (B, 1, D)."""
        return self.to_tokens(latent)[:, None]


def _shift_and_log_scale(values: Tensor) -> tuple[Tensor, Tensor]:
    shift, log_scale = values.float().chunk(2, dim=1)
    return shift, MAX_LOG_SCALE * (log_scale / MAX_LOG_SCALE).tanh()


def standard_normal(uniform: Tensor) -> Tensor:
    """Turn uniform draws in 0..1 into standard normal ones."""
    wide = uniform.to(widest_float(uniform.device))
    return torch.special.ndtri(wide.clamp(1e-6, 1 - 1e-6)).float()
