"""A prior under CUDA's bfloat16 autocast, on fake tensors: errors of a GPU appear without one.

The other priors use operators that need a driver even with fake tensors; their normalisation and
attention are the same.
"""

import torch

from tests.fake_cuda import call, fake_cuda
from tests.tiny import transformer


def on_gpu(*shape, dtype=torch.int64):
    return torch.zeros(shape, dtype=dtype, device="cuda")


def test_losses_of_the_transformer():
    prior = transformer().train()
    with fake_cuda():
        batch = {
            "codes": on_gpu(4, 6),
            "draws": on_gpu(4, 0, dtype=torch.float32),
            "text_tokens": on_gpu(4, 5),
            "text_mask": on_gpu(4, 5) == 0,
            "text_is_empty": on_gpu(4) == 0,
        }
        losses = call(prior, lambda model, batch: model.losses(batch), batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
