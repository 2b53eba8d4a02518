"""Optimizers and their parameter groups."""

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from vqpriors.training.config import StageTrainConfig
from vqpriors.training.muon import Muon


def make_optimizer(model: nn.Module, *, lr: float, config: StageTrainConfig) -> Optimizer:
    """Return the optimizer of a model's trainable parameters.

    Args:
        model: Frozen parameters have `requires_grad` False.
        lr: Peak learning rate.
        config: Optimizer, betas and weight decay.
    """
    betas = (config.betas[0], config.betas[1])
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "muon":
        return Muon(groups, lr=lr, betas=betas)
    return AdamW(groups, lr=lr, betas=betas, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Group trainable parameters by optimizer and weight decay.

    Matrices and kernels decay; gains and biases do not. Muon updates the matrices of hidden
    layers. Embeddings and modules with the attribute `uses_adamw` use AdamW.
    """
    not_muon = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding) or getattr(module, "uses_adamw", False)
        for parameter in module.parameters()
    }
    trainable = [p for p in model.parameters() if p.requires_grad]
    muon = [p for p in trainable if p.ndim >= 2 and id(p) not in not_muon]
    adamw = [p for p in trainable if p.ndim >= 2 and id(p) in not_muon]
    vectors = [p for p in trainable if p.ndim < 2]
    return [
        {"params": muon, "weight_decay": weight_decay, "is_orthogonal": True},
        {"params": adamw, "weight_decay": weight_decay, "is_orthogonal": False},
        {"params": vectors, "weight_decay": 0.0, "is_orthogonal": False},
    ]
