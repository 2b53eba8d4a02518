import pytest
import torch

from vqpriors.training.losses import weighted_sum


def test_losses_without_a_weight_have_weight_one():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert weighted_sum(losses, {"b": 0.5}).item() == 3.5
    assert weighted_sum(losses, {}).item() == 5.0


def test_weight_of_no_loss_is_refused():
    with pytest.raises(ValueError, match=r"no loss 'c' to weigh.*some of a"):
        weighted_sum({"a": torch.tensor(2.0)}, {"c": 1.0})
