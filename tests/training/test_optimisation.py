import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.tiny import train_config
from vqpriors.training.optimisation import (
    averaging,
    lr_share,
    parameter_groups,
    set_train_mode,
    weigh,
)


def shares(total, **changes):
    return [lr_share(step, total=total, config=train_config(**changes)) for step in range(total)]


def test_learning_rate_warms_up_linearly_and_falls_by_a_cosine():
    cosine = [1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5]
    found = shares(6, warmup_steps=2, min_lr_ratio=0.0)
    assert_close(found[:2], [0.5, 1.0])
    assert_close(found[2:], cosine)


def test_cosine_approaches_its_final_share():
    assert shares(1000, warmup_steps=0, min_lr_ratio=0.1)[-1] == pytest.approx(0.1, abs=1e-5)


def test_warm_up_takes_at_most_half_of_a_short_phase():
    assert shares(4, warmup_steps=100)[:3] == [0.5, 1.0, 1.0]


def test_phase_of_one_step_runs_at_its_peak():
    assert shares(1, warmup_steps=100) == [1.0]


def test_weights_multiply_named_losses_and_others_count_once():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert weigh(losses, {"b": 0.5}).item() == 3.5
    assert weigh(losses, {}).item() == 5.0


def test_weight_of_no_loss_is_refused():
    with pytest.raises(ValueError, match=r"no loss 'c' to weigh.*some of a"):
        weigh({"a": torch.tensor(2.0)}, {"c": 1.0})


def test_matrices_and_kernels_decay_gains_and_biases_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2), nn.RMSNorm(2))
    mixing, taken, others = parameter_groups(model, 0.1)
    assert (mixing["weight_decay"], taken["weight_decay"]) == (0.1, 0.1)
    assert others["weight_decay"] == 0.0
    assert [p.ndim for p in mixing["params"]] == [4, 2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]


def test_embeddings_and_heads_take_no_step_of_muon():
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "head": nn.Linear(2, 3)})
    model["inner"] = nn.ModuleDict({"head": nn.Linear(2, 3), "header": nn.Linear(2, 2)})
    mixing, taken, _ = parameter_groups(model, 0.1)
    assert [p is model["inner"]["header"].weight for p in mixing["params"]] == [True]
    assert len(taken["params"]) == 3
    assert (mixing["is_orthogonal"], taken["is_orthogonal"]) == (True, False)


def test_what_does_not_learn_is_in_no_group():
    model = nn.Linear(2, 2).requires_grad_(False)
    assert not any(group["params"] for group in parameter_groups(model, 0.1))


def test_frozen_submodule_is_in_evaluation_mode_without_gradients():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    set_train_mode(model, ["1"])
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]
    assert [model[0].training, model[1].training, model[1][0].training] == [True, False, False]
    set_train_mode(model, [])
    assert all(p.requires_grad for p in model.parameters())
    assert model[1][0].training


def test_frozen_name_freezes_no_other_that_starts_like_it():
    model = nn.ModuleDict({"code": nn.Linear(1, 1), "codec": nn.Linear(1, 1)})
    set_train_mode(model, ["code"])
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["code.weight", "code.bias"]


def test_unknown_submodule_is_refused():
    with pytest.raises(ValueError, match="no submodule 'x' to freeze"):
        set_train_mode(nn.Linear(1, 1), ["x"])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, 10 - 8 * 2 / 11),  # (1 + 1) / (10 + 1) of the old average is kept
        (1000, 2 + 8 * 0.1),  # `decay` is kept from then on
    ],
)
def test_average_forgets_its_start_faster_at_first(count, expected):
    averaged, current = [torch.tensor([2.0])], [torch.tensor([10.0])]
    averaging(0.9)(averaged, current, torch.tensor(count))
    assert_close(averaged[0], torch.tensor([expected]))
