"""Muon: orthogonalised momentum for matrices, and AdamW for all other parameters.

References:
    Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks;
    Liu et al. 2025, Muon is Scalable for LLM Training, arXiv:2502.16982 (weight decay, and steps
    scaled to the size of AdamW's, so that both share one learning rate).
"""

# pyright: reportPrivateImportUsage=false
# torch's functions on lists of tensors have no public names.

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from vqpriors.training.sharding import full_tensor, is_sharded, shard_like

MOMENTUM = 0.95
COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # of x, x^3 and x^5: steepest at 0; singular values well above 0 end in 0.68..1.14
NUM_ITERATIONS = 5
ADAMW_RMS = 0.2  # typical root mean square of AdamW's steps, in learning rates


class Muon(AdamW):
    """AdamW, with Muon's steps for the groups marked `is_orthogonal`.

    `torch.optim.Muon` computes in bfloat16, which a CPU without such instructions emulates; it
    takes ten to twenty times as long there.

    Projections in one matrix, such as queries, keys and values, take one step together. A step for
    each made no difference: after 2 epochs on 3,000 pictures of `digits`, a `transformer` of width
    80 had 2.993 nats per token either way (mean of 3 seeds, standard deviation 0.01), an `lstm` of
    width 80 had 3.053 with steps apart and 3.052 with one step.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float]):
        """Set up the optimizer.

        Args:
            groups: Parameter groups; those with `is_orthogonal` true hold matrices, or kernels
                (O, ...), which are treated as matrices of O rows.
            lr: Learning rate of all groups.
            betas: Of AdamW.
        """
        super().__init__(groups, lr=lr, betas=betas, fused=True)
        self._step_supports_amp_scaling = False  # so that a scaler skips overflown steps

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] no closure, as accelerate calls it
        """Update all parameters that have a gradient."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["is_orthogonal"]]
        super().step()
        self.param_groups = groups
        for group in groups:
            if group["is_orthogonal"]:
                self._step_matrices(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        states = [self.state[weight] for weight in weights]
        for weight, state in zip(weights, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())  # AdamW expects it
                state["momentum"] = torch.zeros_like(weight)
            state["step"] += 1
        gradients, momenta = [w.grad for w in weights], [state["momentum"] for state in states]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight, each in zip(weights, ahead, strict=True):
            by_shape[_as_matrix(each.shape)].append((weight, each))
        for shape, pairs in by_shape.items():
            # Stacked matrices are faster; sharded ones are gathered one at a time to save memory.
            count = 1 if is_sharded(pairs[0][0]) else len(pairs)
            for start in range(0, len(pairs), count):
                _step_same_shape(group, shape, pairs[start : start + count])


def _as_matrix(shape: torch.Size) -> torch.Size:
    return torch.Size((shape[0], shape[1:].numel()))


def _step_same_shape(
    group: dict[str, Any], shape: torch.Size, pairs: list[tuple[Tensor, Tensor]]
) -> None:
    steps = orthogonal(torch.stack([full_tensor(ahead).flatten(1) for _, ahead in pairs]))
    size = group["lr"] * ADAMW_RMS * max(shape) ** 0.5
    weights = [weight for weight, _ in pairs]
    steps = [shard_like(w, step.view(w.shape)) for w, step in zip(weights, steps, strict=True)]
    torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_sub_(weights, steps, alpha=size)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1, into 0.68 to 1.14, by the Newton-Schulz iteration.

    Args:
        matrices: (M, R, C) float.

    Returns:
        (M, R, C) float; zeros stay zeros.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
