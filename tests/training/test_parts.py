"""A batch in parts, on several processes or in passes of any size, trains as the whole."""

import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.testing import assert_close

from tests.tiny import cftn, cftn2, lstm, phase, runtime_config, train_config, transformer
from tests.training.test_resume import token_splits
from vqpriors.training.batch_size import require_full_parts
from vqpriors.training.gradients import accumulate_gradients
from vqpriors.training.loop import train
from vqpriors.training.losses import Objective
from vqpriors.training.validation import validate
from vqpriors.training.weights import Weights

PRIORS = {"lstm": lstm, "transformer": transformer, "cftn": cftn, "cftn2": cftn2}
of_priors = pytest.mark.parametrize("kind", PRIORS)


class Masked(nn.Module):
    """The mean of a factor times x over the targets, those x that are not 0; and their number."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.factor.weight)

    def losses(self, batch):
        is_target = batch["x"] != 0
        predicted = self.factor(batch["x"][:, None])[:, 0]
        number = is_target.sum()
        self.measured = {"number": number.float(), "targets": number.float()}
        return {
            "mean": (predicted * is_target).sum() / number.clamp(min=1),
            "per_example": predicted.mean(),
        }

    def num_targets(self, batch):
        return dict.fromkeys(("mean", "targets"), (batch["x"] != 0).sum())


class Rows:
    def __init__(self, *values):
        self.values = torch.tensor(values)

    def __len__(self):
        return len(self.values)

    def batch(self, rows, generator, *, part=slice(None)):
        return {"x": self.values[rows[part]]}


VALUES = (8.0, 0.0, 0.0, 2.0, 3.0, 5.0)  # of 3 parts: 1, 1 and 2 targets; in all 4 of sum 18


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_loss_and_gradient_are_means_over_all_targets(parts):
    model = Masked()
    means, total = accumulate_gradients(
        Objective(model),
        model,
        {"x": torch.tensor(VALUES)},
        loss_weights={"per_example": 2.0},
        config=train_config(grad_accum_steps=parts),
        accelerator=Accelerator(cpu=True),
    )
    assert means["mean"].item() == pytest.approx(18 / 4)
    assert means["per_example"].item() == pytest.approx(18 / 6)
    assert total.item() == pytest.approx(18 / 4 + 2 * 18 / 6)
    assert model.factor.weight.grad.item() == pytest.approx(18 / 4 + 2 * 18 / 6)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
def test_validation_losses_are_means_over_all_targets(batch_size):
    weights = Weights(Masked(), config=train_config(), accelerator=Accelerator(cpu=True))
    found = validate(weights, Rows(*VALUES), loss_weights={"mean": 3.0}, batch_size=batch_size)
    assert found["mean"] == pytest.approx(18 / 4)
    assert found["per_example"] == pytest.approx(18 / 6)
    assert found["loss"] == pytest.approx(3 * 18 / 4 + 18 / 6)


def test_validation_without_a_target_is_0():
    weights = Weights(Masked(), config=train_config(), accelerator=Accelerator(cpu=True))
    found = validate(weights, Rows(0.0, 0.0), loss_weights={}, batch_size=1)
    assert found["mean"] == found["loss"] == 0


def trained(folder: Path, kind, *, parts, dropout=0.0, **settings):
    torch.manual_seed(1)
    prior = PRIORS[kind](dropout=dropout)
    training, validation = token_splits(num_draws=prior.num_draws)
    return train(
        prior,
        phases={"main": phase(epochs=3)},
        config=train_config(batch_size=6, grad_accum_steps=parts, **settings),
        runtime=runtime_config(),
        training=training,
        validation=validation,
        seed=3,
        folder=folder,
        log=lambda step, values: None,
    )


@of_priors
@pytest.mark.parametrize("parts", [2, 6])
def test_parts_of_batches_train_every_prior_without_dropout_as_the_batches(tmp_path, kind, parts):
    """With masks, dropped captions and, in cftn2, tasks of which a part has no example."""
    whole, cut = (trained(tmp_path / f"{n}", kind, parts=n) for n in (1, parts))
    assert_close(cut.last, whole.last, rtol=1e-3, atol=1e-5)
    for (_, found), (_, expected) in zip(cut.progress.history, whole.progress.history, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@of_priors
def test_dropout_is_drawn_anew_for_each_part(tmp_path, kind):
    whole, cut = (trained(tmp_path / f"{n}", kind, parts=n, dropout=0.1) for n in (1, 6))
    differences = [(cut.last[name] - value).abs().max() for name, value in whole.last.items()]
    assert max(differences) > 0.01


@of_priors
def test_validation_of_every_prior_does_not_depend_on_the_batch_size(kind):
    torch.manual_seed(1)
    prior = PRIORS[kind]()
    weights = Weights(prior, config=train_config(), accelerator=Accelerator(cpu=True))
    _, validation = token_splits(num_draws=prior.num_draws)
    assert len(validation) == 5
    whole, *others = (
        validate(weights, validation, loss_weights={}, batch_size=size) for size in (5, 1, 2, 4)
    )
    assert math.isfinite(whole["loss"])
    for found in others:
        assert found == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("size", "processes"), [(9, 2), (3, 4), (10, 4)])
def test_batch_that_processes_cannot_share_equally_is_refused(size, processes):
    problem = rf"tiny\.train\.batch_size: {size} of 20 examples can't be shared equally by "
    problem += rf"{processes} processes; set it to a multiple of {processes}$"
    settings = {"num_examples": 20, "config": train_config()}
    with pytest.raises(ValueError, match=problem):
        require_full_parts(size, num_processes=processes, **settings)
    require_full_parts(processes * 2, num_processes=processes, **settings)
