"""The tokenizer under CUDA's bfloat16 autocast, on fake tensors; see `tests.fake_cuda`."""

import pytest
import torch

from tests import tiny
from tests.fake_cuda import call, fake_cuda
from vqpriors.quantizers.fsq import FiniteScalarQuantizer

QUANTIZERS = {"ema": tiny.ema, "fsq": lambda: FiniteScalarQuantizer(levels=[5, 5])}
of_quantizers = pytest.mark.parametrize("name", QUANTIZERS)


@of_quantizers
def test_losses(name):
    model = tiny.vqvae(QUANTIZERS[name]()).train()
    with fake_cuda():
        images = torch.zeros(4, 1, 8, 8, device="cuda")
        losses = call(model, lambda model: model.losses({"images": images}))
    assert "reconstruction" in losses
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@of_quantizers
def test_encoding_and_decoding(name):
    model = tiny.vqvae(QUANTIZERS[name]()).eval()
    with fake_cuda(), torch.no_grad():
        images = torch.zeros(4, 1, 8, 8, device="cuda")
        codes = call(model, lambda model: model.encode(images))
        decoded = call(model, lambda model: model.decode(codes))
    assert codes.dtype == torch.int64
    assert decoded.shape == images.shape
