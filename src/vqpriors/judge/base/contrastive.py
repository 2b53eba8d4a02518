"""The contrastive loss of judges that match pictures with captions."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SCALE = 100.0  # of similarities, as in CLIP


def contrastive_loss(pictures: Tensor, captions: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric cross-entropy of matching pictures and captions.

    Args:
        pictures: Embeddings of length 1, (B, E) float.
        captions: Embeddings of length 1, (B, E) float.
        tokens: The captions' tokens, (B, L) int64; pictures with equal ones share the probability.
        scale: Factor of the similarities, at most 100 is used; scalar.

    Returns:
        Nats, scalar: of the own caption among those of the batch, and of the own picture, averaged.

    Reference:
        Radford et al. 2021, CLIP, arXiv:2103.00020.
    """
    logits = pictures @ captions.T * scale.clamp(max=MAX_SCALE)  # (B, B)
    is_own = (tokens[:, None] == tokens[None]).all(dim=2)
    targets = is_own / is_own.sum(dim=1, keepdim=True)
    both = F.cross_entropy(logits, targets), F.cross_entropy(logits.T, targets)
    return torch.stack(both).mean()
