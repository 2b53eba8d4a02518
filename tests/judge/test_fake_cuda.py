"""The judge of attributes under CUDA's bfloat16 autocast, on fake tensors; see `fake_cuda`."""

import torch

from tests.fake_cuda import call, fake_cuda
from vqpriors.judge.attributes.model import AttributeJudge

CLASSES = {"size": ["large", "small"], "color": ["blue", "green", "red"]}


def test_losses_and_predictions():
    settings = {"width": 8, "depth": 2, "dropout": 0.1, "color_attributes": ["color"]}
    judge = AttributeJudge(channels=3, classes=CLASSES, **settings).train()
    with fake_cuda():
        batch = {
            "images": torch.zeros(4, 3, 16, 16, device="cuda"),
            "labels": torch.zeros(4, 2, dtype=torch.int64, device="cuda"),
        }
        losses = call(judge, lambda judge: judge.losses(batch))
        classes = call(judge.eval(), lambda judge: judge.predict(judge.features(batch["images"])))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert (classes.shape, classes.dtype) == ((4, 2), torch.int64)
