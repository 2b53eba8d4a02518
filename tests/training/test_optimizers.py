from torch import nn

from vqpriors.training.optimizers import parameter_groups


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
