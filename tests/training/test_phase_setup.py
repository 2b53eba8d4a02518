import pytest
from torch import nn

from vqpriors.training.phase_setup import set_options, set_train_mode


class Annealed(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = []

    def begin_phase(self, *, ratio=0.5, mode="a"):
        self.calls.append((ratio, mode))


def test_frozen_submodule_is_in_evaluation_mode_without_gradients():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    set_train_mode(model, ["1"])
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]
    assert [model[0].training, model[1].training, model[1][0].training] == [True, False, False]
    set_train_mode(model, [])
    assert all(p.requires_grad for p in model.parameters())
    assert model[1][0].training


def test_frozen_name_freezes_no_other_with_the_same_prefix():
    model = nn.ModuleDict({"code": nn.Linear(1, 1), "codec": nn.Linear(1, 1)})
    set_train_mode(model, ["code"])
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["code.weight", "code.bias"]


def test_unknown_submodule_is_refused():
    with pytest.raises(ValueError, match="no submodule 'x' to freeze"):
        set_train_mode(nn.Linear(1, 1), ["x"])


def test_options_default_if_they_are_not_given():
    model = Annealed()
    set_options(model, {"ratio": 0.25})
    assert model.calls == [(0.25, "a")]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rate": 0.5}, "no option 'rate'; correct `options` to some of ratio, mode"),
        ({"ratio": 1}, "option ratio must be float, got 1; change it"),
        ({"mode": 0.5}, "option mode must be str, got 0.5; change it"),
    ],
)
def test_unknown_options_and_other_types_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        set_options(Annealed(), options)
