import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.tiny import train_config
from vqpriors.training.muon import Muon, orthogonal
from vqpriors.training.optimizers import make_optimizer


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def muon(weight, *, lr=0.1, weight_decay=0.0):
    group = {"params": [weight], "weight_decay": weight_decay, "is_orthogonal": True}
    return Muon([group], lr=lr, betas=(0.9, 0.99))


def stepped(weight, gradients, **settings):
    weight = nn.Parameter(weight.clone())
    optimizer = muon(weight, **settings)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)])
def test_singular_values_come_near_one(shape):
    found = torch.linalg.svdvals(orthogonal(torch.randn(2, *shape, dtype=torch.float64)))
    assert found.min() > 0.65
    assert found.max() < 1.2


def test_singular_vectors_are_kept():
    left, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    values = torch.tensor([1.0, 0.8, 0.5, 0.3], dtype=torch.float64)
    found = left.T @ orthogonal((left * values @ right)[None])[0] @ right.T
    assert_close(found, found.diagonal().diag())


def test_scale_of_a_gradient_does_not_matter():
    gradient = torch.randn(1, 3, 5)
    assert_close(orthogonal(gradient), orthogonal(1000 * gradient), atol=1e-5, rtol=1e-4)


def test_zero_gradient_changes_nothing():
    weight = torch.randn(3, 5)
    assert torch.equal(stepped(weight, [torch.zeros(3, 5)]), weight)


def test_first_step_is_the_orthogonalised_gradient_at_adamws_scale():
    gradient = torch.randn(3, 5)
    found = -stepped(torch.zeros(3, 5), [gradient], lr=0.1)
    assert_close(found, 0.1 * 0.2 * 5**0.5 * orthogonal(gradient[None])[0])


def test_momentum_is_nesterov_momentum():
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    momentum = 0.95 * 0.05 * first + 0.05 * second
    ahead = 0.05 * second + 0.95 * momentum
    one, two = (stepped(torch.zeros(3, 5), given, lr=0.1) for given in ([first], [first, second]))
    assert_close(one - two, 0.1 * 0.2 * 5**0.5 * orthogonal(ahead[None])[0])


def test_weights_decay_by_the_learning_rate():
    weight = torch.randn(3, 5)
    plain = stepped(weight, [torch.ones(3, 5)], lr=0.1)
    decayed = stepped(weight, [torch.ones(3, 5)], lr=0.1, weight_decay=0.5)
    assert_close(plain - decayed, 0.05 * weight)


def test_kernels_are_matrices_with_a_row_for_each_output():
    weight, gradient = torch.zeros(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    found = stepped(weight, [gradient])
    assert_close(found.flatten(1), stepped(weight.flatten(1), [gradient.flatten(1)]))


def test_matrices_of_one_shape_are_updated_independently():
    gradients = [torch.randn(3, 5), torch.randn(3, 5)]
    weights = [nn.Parameter(torch.zeros(3, 5)) for _ in gradients]
    group = {"params": weights, "weight_decay": 0.0, "is_orthogonal": True}
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    Muon([group], lr=0.1, betas=(0.9, 0.99)).step()
    for weight, gradient in zip(weights, gradients, strict=True):
        assert_close(weight.detach(), stepped(torch.zeros(3, 5), [gradient], lr=0.1))


def test_other_parameters_match_adamw():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Embedding(7, 4), nn.RMSNorm(4)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        make_optimizer(model, lr=0.1, config=train_config(optimizer=name).stage)
        for model, name in zip(models, ("muon", "adamw"), strict=True)
    ]
    for _ in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            model(torch.arange(7)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert_close(models[0].state_dict(), models[1].state_dict(), rtol=0, atol=0)


def test_state_can_be_saved_and_loaded():
    weight, gradients = torch.randn(3, 5), torch.randn(4, 3, 5)
    uninterrupted = stepped(weight, gradients, lr=0.1)
    first = nn.Parameter(weight.clone())
    optimizer = muon(first)
    for gradient in gradients[:2]:
        first.grad = gradient
        optimizer.step()
    second = nn.Parameter(first.detach().clone())
    resumed = muon(second)
    resumed.load_state_dict(optimizer.state_dict())
    for gradient in gradients[2:]:
        second.grad = gradient
        resumed.step()
    assert torch.equal(second.detach(), uninterrupted)


def test_parameters_without_a_gradient_do_not_change():
    weight = nn.Parameter(torch.randn(3, 5))
    before = weight.detach().clone()
    muon(weight).step()
    assert torch.equal(weight.detach(), before)
