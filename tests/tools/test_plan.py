"""The plan of a stage, compared with the run that it describes and with a count by hand."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.checkout import copy_checkout, run, set_value, tiny_params
from tests.faults.stage import declared_params
from tests.tiny import phase, train_config
from tools import plan
from vqpriors.core.params import Params
from vqpriors.training.run import TrainingRun
from vqpriors.training.session import TrainingTask


def lines_of(stage, monkeypatch):
    monkeypatch.setattr(
        plan, "read_params", lambda name: Params(declared_params(name, tiny_params()))
    )
    return list(plan.plan(stage))


@pytest.mark.parametrize("stage", plan.STAGES)
def test_plan_describes_the_run(checkout, monkeypatch, stage):
    figures = {path: path.stat().st_mtime_ns for path in checkout.glob("metrics/*/*.png")}
    lines = lines_of(stage, monkeypatch)
    assert figures == {path: path.stat().st_mtime_ns for path in checkout.glob("metrics/*/*.png")}
    measured = json.loads((checkout / "metrics" / stage / "metrics.json").read_text())
    steps = [int(found[1]) for line in lines if (found := re.search(r" (\d+) steps of", line))]
    assert sum(steps) == measured["step"]
    assert "examples    80 to train on, batches of 16" in lines
    previews = [line for line in lines if line.startswith("previews")]
    assert len(previews) == (stage == "train_prior")
    if stage == "train_prior":
        assert re.fullmatch(r"previews +8 of \d+\.\d s", previews[0])
        assert lines[0] == f"parameters  {measured['parameters'] / 1e6:.2f} million"
        assert "tokens      3,920 in an epoch, 49 a picture" in lines
    minutes = [float(found[1]) for line in lines if (found := re.search(r": ([\d.]+) min", line))]
    total = float(re.search(r"^time +([\d.]+) minutes with 1 process", lines[-1])[1])
    assert total == pytest.approx(sum(minutes), abs=0.05 * (1 + len(minutes)))
    assert 0.05 < float(re.search(r"^memory +([\d.]+) GB on cpu$", lines[-2])[1]) < 20


def test_comparison_of_steps_is_planned_as_it_is_drawn(monkeypatch):
    """5 pictures with 1, 4 and 8 steps and 1 million parameters, at 1 GFLOP a second."""
    params = tiny_params()
    for key, value in (("compared_steps", [1, 4, 8, 4]), ("compared_tflop", 0.014)):
        set_value(params, f"sample.{key}", value)
    set_value(params, "sample.guidance", 2.0)
    monkeypatch.setattr(plan, "read_params", lambda name: Params(declared_params(name, params)))
    line = plan.compared_line(parameters=1_000_000, codes=49, rate=1e9)
    tflop = 2 * 2 * 13 * 49 * 1e6 * 5 / 1e12
    assert line == (
        "comparison  in sample: 5 pictures with each of 3 numbers of steps, "
        f"{tflop:.1f} TFLOP: {tflop * 1000 / 60:.1f} minutes"
    )


class Rows:
    """Random inputs of width 8."""

    def __len__(self):
        return 16

    def batch(self, rows, generator, *, part=slice(None)):
        return {"x": torch.randn(len(rows[part]), 8)}


class TwoLayers(nn.Module):
    """Linear layers of 8 x 16 and 16 x 4 weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False)

    def losses(self, batch):
        return {"size": self.second(self.first(batch["x"])).square().mean()}


class Attention(nn.Module):
    """A linear layer of 8 x 8 weights, and attention of a batch's rows to one another."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)

    def losses(self, batch):
        rows = self.first(batch["x"])[None, None]  # one picture, one head
        return {"size": F.scaled_dot_product_attention(rows, rows, rows).square().mean()}


# 2 per product. Linear layers: forward, for the weights' gradients, and for the second one's input.
# Attention of 4 rows of width 8: two products forward, four backward.
BY_HAND = {
    TwoLayers: 2 * 4 * (2 * (8 * 16 + 16 * 4) + 16 * 4),
    Attention: 2 * 4 * 2 * 8 * 8 + 2 * 6 * 4 * 4 * 8,
}


@pytest.mark.parametrize("model", BY_HAND)
def test_flops_match_a_count_by_hand(model):
    config, phases = train_config(batch_size=4), {"main": phase(epochs=3)}
    task = TrainingTask(model(), phases, config, Rows(), Rows(), description={})
    training = TrainingRun(task.model, phases=phases, config=config, seed=0, num_examples=16)
    training.choose_batch_size(task.training)
    cost = plan.measure(training, task, phases["main"])
    assert cost.flops == BY_HAND[model]
    assert cost.steps == 3 * 4
    assert cost.minutes == pytest.approx((12 * cost.seconds + 3 * cost.validation_seconds) / 60)


def test_unknown_stage_is_refused(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    with pytest.raises(Exception, match="not a training stage") as failure:
        run(folder, "python", "-m", "tools.plan", "train_dog")
    assert "Traceback" not in str(failure.value)


def test_missing_input_is_one_line(checkout, monkeypatch):
    (checkout / "data/text/manifest.json").unlink()
    with pytest.raises(ValueError, match=r"data/text/manifest\.json: missing"):
        lines_of("train_prior", monkeypatch)
