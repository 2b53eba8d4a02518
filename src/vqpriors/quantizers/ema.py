"""Vector quantization with a codebook learned by exponential moving averages (EMA).

References:
    van den Oord et al. 2017, VQ-VAE, arXiv:1711.00937, appendix A.1 (the EMA updates);
    Razavi et al. 2019, VQ-VAE-2, arXiv:1906.00446;
    Yu et al. 2021, ViT-VQGAN, arXiv:2110.04627 (l2-normalised codes).
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqpriors.core.distributed import broadcast_from_first, gather_rows, sample_rows, sum_over_ranks
from vqpriors.core.params import Section
from vqpriors.tokenizer.base import compiled_nearest
from vqpriors.tokenizer.base.quantizer import Quantized

KMEANS_ITERS = 10
MIN_SIZE = 1e-3  # codes with a smaller average count are not updated
CHUNK = 2048  # vectors compared with the codebook at a time on a CPU, to bound memory
BLOCK = 64  # scores among which the largest is found at once on a CPU
MAX_SCORES = 2**26  # scores at a time on a GPU: 256 MiB
COLLAPSE_FIX = (
    "raise tokenizer.ema.dead_code_threshold, start with a phase that does not quantize, or use "
    "fewer codes"
)


class Config(Section):
    """`tokenizer.ema` of params.yaml."""

    num_codes: int = Field(ge=2, le=65536)
    dim: int = Field(ge=1)
    decay: float = Field(gt=0, lt=1)
    is_normalised: bool
    commitment: float = Field(ge=0)
    dead_code_threshold: float = Field(ge=0)


class VectorQuantizerEMA(nn.Module):
    """Nearest-neighbour quantizer with an EMA codebook.

    The codebook is initialised by k-means of the first training batch. In training mode the
    vectors of every call are kept until `end_update`, which updates the codebook once from all of
    them. A code whose average count falls below `dead_code_threshold` is replaced by a random one
    of these vectors, and its averages are reset with it; otherwise the old averages would undo the
    replacement in the same step.

    Attributes:
        codebook: (K, D) float32.
        cluster_size: EMA of the number of vectors of each code; (K,) float32.
        cluster_sum: EMA of the sum of the vectors of each code; (K, D) float32.
        is_initialised: Whether k-means has run; () bool.
    """

    codebook: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    is_initialised: Tensor

    def __init__(
        self,
        *,
        num_codes: int,
        dim: int,
        decay: float,
        is_normalised: bool,
        commitment: float,
        dead_code_threshold: float,
    ):
        super().__init__()
        self.num_codes, self.dim, self.decay = num_codes, dim, decay
        self.is_normalised, self.commitment = is_normalised, commitment
        self.dead_code_threshold = dead_code_threshold
        self.register_buffer("codebook", torch.zeros(num_codes, dim))
        self.register_buffer("cluster_size", torch.ones(num_codes))
        self.register_buffer("cluster_sum", torch.zeros(num_codes, dim))
        self.register_buffer("is_initialised", torch.tensor(False))
        self._is_ready = False  # known to be initialised, without waiting for the device
        self._seen: list[tuple[Tensor, Tensor]] = []  # vectors and codes since the last update

    def forward(self, vectors: Tensor) -> Quantized:
        """Quantize (M, D) vectors and, in training mode, keep them for `end_update`."""
        with torch.autocast(vectors.device.type, enabled=False):
            if self.training:
                self.initialise(vectors.detach())
            vectors = self._normalise(vectors.float())
            codes = nearest(vectors.detach(), self.codebook)
            chosen = self.decode(codes)
            loss = F.mse_loss(vectors, chosen) * self.commitment
            if self.training:
                self._seen.append((vectors.detach(), codes))
            return Quantized(vectors + (chosen - vectors).detach(), codes, {"commitment": loss})

    def bound(self, vectors: Tensor) -> Tensor:
        """Return (M, D) vectors, of length 1 if codes are normalised."""
        return self._normalise(vectors)

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes, (M,) int64, of (M, D) vectors."""
        with torch.autocast(vectors.device.type, enabled=False):
            return nearest(self._normalise(vectors.float()), self.codebook)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors, (..., D) float32, of (...) codes."""
        return F.embedding(codes, self.codebook)

    @torch.no_grad()
    def initialise(self, vectors: Tensor) -> None:
        """Initialise the codebook by k-means of (M, D) vectors, unless it is initialised."""
        if self._is_ready or self.is_initialised:
            self._is_ready = True
            return
        with torch.autocast(vectors.device.type, enabled=False):
            gathered = gather_rows(self._normalise(vectors.float()))
            centres = kmeans(gathered, self.num_codes, num_iters=KMEANS_ITERS)
            self.codebook.copy_(self._normalise(broadcast_from_first(centres)))
        self.cluster_sum.copy_(self.codebook)
        self.cluster_size.fill_(1.0)
        self.is_initialised.fill_(True)

    @torch.no_grad()
    def end_update(self) -> None:
        """Update the codebook from all vectors quantized in training mode since the last update."""
        if not self._seen:
            return
        vectors, codes = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        self._update_ema(vectors, codes)

    def _normalise(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.is_normalised else vectors

    def _update_ema(self, vectors: Tensor, codes: Tensor) -> None:
        count, total = cluster_statistics(vectors, codes, self.num_codes)
        self.cluster_size.lerp_(sum_over_ranks(count), 1 - self.decay)
        self.cluster_sum.lerp_(sum_over_ranks(total), 1 - self.decay)
        self._replace_dead_codes(vectors)
        size = self.cluster_size[:, None]
        mean = self._normalise(self.cluster_sum / size.clamp(min=MIN_SIZE))
        self.codebook.copy_(torch.where(size > MIN_SIZE, mean, self.codebook))

    def _replace_dead_codes(self, vectors: Tensor) -> None:
        is_dead = self.cluster_size < self.dead_code_threshold
        replacement = sample_rows(vectors, self.num_codes)
        self.cluster_sum.copy_(torch.where(is_dead[:, None], replacement, self.cluster_sum))
        self.cluster_size.masked_fill_(is_dead, 1.0)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code by Euclidean distance, the first of ties; (M,) int64.

    Args:
        vectors: (M, D) float32.
        codebook: (K, D) float32.
    """
    if compiled_nearest.is_usable(vectors):
        return compiled_nearest.nearest(vectors, codebook)
    # argmin |v - c|^2 = argmax v c - |c|^2 / 2: one product of [v, 1] with [c, -|c|^2 / 2] saves a
    # pass over the M x K scores to subtract the norms.
    extended = torch.cat([codebook, -0.5 * codebook.square().sum(1, keepdim=True)], dim=1)
    size = CHUNK if vectors.device.type == "cpu" else max(CHUNK, MAX_SCORES // len(codebook))
    chunks = F.pad(vectors, (0, 1), value=1.0).split(size)
    return torch.cat([_largest(chunk @ extended.T) for chunk in chunks])


def _largest(scores: Tensor) -> Tensor:
    """Return the index of the largest score in each row, (M, K), the first of ties; (M,) int64.

    On CPUs, torch's `argmax` takes a third of the time of the search and `amax` a tenth of that, so
    `argmax` is given the largest score of each block, and then one block.
    """
    num_codes = scores.shape[1]
    if scores.device.type != "cpu" or num_codes % BLOCK:
        return scores.argmax(1)
    blocks = scores.unflatten(1, (-1, BLOCK))
    block = blocks.amax(2).argmax(1)
    inside = blocks[torch.arange(len(block), device=block.device), block].argmax(1)
    return BLOCK * block + inside


def cluster_statistics(vectors: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Count and sum the vectors of each code, without a one-hot matrix.

    Returns:
        (K,) float counts and (K, D) float sums.
    """
    total = vectors.new_zeros(num_codes, vectors.shape[1]).index_add_(0, codes, vectors)
    # `bincount` would wait for a GPU.
    count = vectors.new_zeros(num_codes).index_add_(0, codes, vectors.new_ones(len(codes)))
    return count, total


def kmeans(vectors: Tensor, num_codes: int, *, num_iters: int) -> Tensor:
    """Run k-means by Lloyd's algorithm, initialised with distinct random vectors if M >= K.

    An empty cluster keeps its centre.

    Args:
        vectors: (M, D) float32.
        num_codes: Number of centres K.
        num_iters: Number of iterations.

    Returns:
        (K, D) float32.
    """
    order = torch.randperm(len(vectors), device=vectors.device)
    centres = vectors[order[torch.arange(num_codes, device=order.device) % len(order)]].clone()
    for _ in range(num_iters):
        count, total = cluster_statistics(vectors, nearest(vectors, centres), num_codes)
        centres = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centres)
    return centres


def build(config: Config) -> VectorQuantizerEMA:
    """Build the quantizer from its config."""
    return VectorQuantizerEMA(**dict(config))
