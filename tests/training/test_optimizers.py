import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.tiny import train_config
from vqpriors.training.optimizers import make_optimizer, parameter_groups


class Output(nn.Linear):
    uses_adamw = True


def test_matrices_and_kernels_decay_gains_and_biases_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2), nn.RMSNorm(2))
    muon, adamw, vectors = parameter_groups(model, 0.1)
    assert (muon["weight_decay"], adamw["weight_decay"]) == (0.1, 0.1)
    assert vectors["weight_decay"] == 0.0
    assert [p.ndim for p in muon["params"]] == [4, 2]
    assert [p.ndim for p in vectors["params"]] == [1, 1, 1]


def test_embeddings_and_modules_with_uses_adamw_are_not_updated_by_muon():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "out": Output(2, 3)})
    model["inner"] = nn.ModuleDict({"out": Output(2, 3), "hidden": nn.Linear(2, 2)})
    muon, adamw, _ = parameter_groups(model, 0.1)
    assert [p is model["inner"]["hidden"].weight for p in muon["params"]] == [True]
    assert len(adamw["params"]) == 3
    assert (muon["is_orthogonal"], adamw["is_orthogonal"]) == (True, False)


def test_frozen_parameters_are_in_no_group():
    model = nn.Linear(2, 2).requires_grad_(False)
    assert not any(group["params"] for group in parameter_groups(model, 0.1))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_step_without_gradient_shrinks_matrices_and_kernels_only(kind):
    layers = {"embedding": nn.Embedding(3, 2), "hidden": nn.Linear(2, 2), "norm": nn.RMSNorm(2)}
    model = nn.ModuleDict(layers | {"kernel": nn.Conv2d(1, 2, 3), "out": Output(2, 3)})
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    config = train_config(optimizer=kind, weight_decay=0.5, betas=[0.8, 0.9]).stage
    optimizer = make_optimizer(model, lr=0.1, config=config)
    optimizer.step()
    for name, parameter in model.named_parameters():
        expected = 1 - 0.1 * 0.5 if parameter.ndim >= 2 else 1.0
        assert_close(parameter, torch.full_like(parameter, expected), msg=name)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}
