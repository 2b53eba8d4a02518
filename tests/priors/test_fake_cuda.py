"""Priors under CUDA's autocast, on fake tensors: errors of a GPU appear without one."""

import pytest
import torch

from tests import tiny
from tests.fake_cuda import call, fake_cuda
from vqpriors.sampling.autoregressive import Autoregressive
from vqpriors.sampling.base.sampler import PictureRandom
from vqpriors.sampling.maskgit.sampler import MaskGIT
from vqpriors.training.examples import to_device
from vqpriors.training.losses import num_targets

PRIORS = {
    "lstm": tiny.lstm,
    "transformer": tiny.transformer,
    "cftn": tiny.cftn,
    "cftn2": tiny.cftn2,
    "cftn2 with two_way": lambda: tiny.cftn2(two_way=True),
}
SAMPLERS = {
    "stepwise": Autoregressive(temperature=0.9, top_k=4, top_p=0.9),
    "masked": MaskGIT(
        order="confidence",
        temperature=1.0,
        temperature_schedule="linear",
        guidance_schedule="linear",
        choice_temperature=1.0,
        remask=0.1,
        latent_steps=1,
        latent_temperature=0.0,
    ),
}
GPU = torch.device("cuda")
of_priors = pytest.mark.parametrize("name", PRIORS)


@of_priors
@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_wait_for_no_value(name, dtype):
    prior = PRIORS[name]().train()
    batch = tiny.prior_batch(prior, tiny.codes(4), tiny.captions([1, 2], [3], [], [4]))
    with fake_cuda(dtype) as waits:
        losses = call(prior, lambda model: model.losses(to_device(batch, GPU)))
        counts = call(prior, lambda model: num_targets(model, to_device(batch, GPU)))
    assert losses
    assert not waits
    assert {count.device.type for count in counts.values()} <= {"cuda"}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@of_priors
@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (3, 2.0)])
def test_sampling_waits_at_the_start_and_the_end_only(name, steps, guidance):
    prior = PRIORS[name]().eval()
    with fake_cuda() as waits:
        text = tiny.captions([1, 2], [3], [], [4]).to(GPU)
        waits.clear()
        random = PictureRandom(range(4), seed=0, device=GPU)
        settings = {"guidance": guidance, "steps": steps, "random": random}
        sampler = SAMPLERS[prior.primitive]
        draw = type(sampler).__call__.__wrapped__  # without inference mode, which needs a driver
        with torch.no_grad():
            codes = call(prior, lambda model: draw(sampler, model, text, text, **settings))
    assert codes.device.type == "cuda"
    assert codes.shape == (4, 6)
    assert codes.dtype == torch.int64
    assert waits == (["cpu"] if prior.primitive == "masked" else []) + ["__int__"]
